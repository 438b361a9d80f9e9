// Jest's transform: Node's own type stripping, which keeps every line and column, so no source maps are needed.
import { createHash } from 'node:crypto'
import { stripTypeScriptTypes } from 'node:module'

export default {
  getCacheKey: (source) => createHash('sha256').update(process.version).update(source).digest('hex'),
  process: (source) => ({ code: stripTypeScriptTypes(source) })
}
