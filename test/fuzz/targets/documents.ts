// Texts of strangers: JSON, OCI documents, references, containerd's filters, the gateway's requests; and the operator's config.
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SnapshotterError } from '../../../src/base/errors.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { parseEntityBytes, resolveSpan } from '../../../src/http/gateway-range.ts'
import { parseRequest } from '../../../src/http/gateway-request.ts'
import { cacheHeaders, contentHeaders, matchesEtag } from '../../../src/http/gateway-headers.ts'
import { remainingRequests, restMs, retryAfterMs } from '../../../src/ipfs/rate-limit.ts'
import { readConfig } from '../../../src/oci/config-document.ts'
import { readIndex } from '../../../src/oci/index-document.ts'
import { imageLayers, readManifest } from '../../../src/oci/manifest-document.ts'
import { parsePlatform } from '../../../src/oci/platform.ts'
import { parseReference } from '../../../src/oci/reference.ts'
import { checkLayoutFile, documentShape, looksLikeDocument } from '../../../src/oci/root-shape.ts'
import { parseStrictJson } from '../../../src/oci/strict-json.ts'
import { parseFilters } from '../../../src/base/filters.ts'
import { snapshotField, type SnapshotInfo } from '../../../src/snapshots/snapshot.ts'
import { Broken, outcomeOf, same, shown, type Target } from '../target.ts'

const DIGEST = `sha256:${'ab'.repeat(32)}`
const JSON_TOKENS = ['{', '}', '[', ']', ':', ',', '"', '\\', '\\u0000', '\\ud83d', '\\ude00', '\\/', 'null', 'true', 'false', '1e', '-', '.', '0', '1e308', ' ', '\n', '\ufeff',
  '"a":', '__proto__', 'constructor', Buffer.of(0xff), Buffer.of(0xc0, 0x80), Buffer.of(0xed, 0xa0, 0x80), '\u2028', '\x7f']
const buffers = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text))

/** What is strict JSON is JSON, and means the same; what is JSON and refused has a reason that JSON.parse does not know. */
export function makeStrictJson (): Target {
  const reasons = /duplicate key|half a surrogate|out of range|not UTF-8|more than \d+ values|nests deeper/
  return {
    seeds: buffers('{"a":1,"b":[true,false,null,-1.5e3,""],"c":{"d":"\\u00e9\\n\\ud83d\\ude00 é"}}', '[]', ' {} ', '"x"', '-0', '{"__proto__":{"a":[[[[1]]]]}}', '[1e308,0.1,1E+2]'),
    tokens: JSON_TOKENS,
    bytesMax: 2048,
    run: (input) => {
      let plain: string | null = null
      try {
        plain = shown(JSON.parse(input.toString('utf8')))
      } catch { /* no JSON */ }
      try {
        same('value', shown(parseStrictJson(input, { what: 'fuzz', code: 'NOT_OCI', bytesMax: 4096, valuesMax: 1000 })), plain ?? 'none')
      } catch (error) {
        if (error instanceof SnapshotterError && plain !== null && !reasons.test(error.message)) throw new Broken(`refused JSON: ${error.message}`)
        throw error
      }
    }
  }
}

/** Each of the documents, read as each: it must be one of them only. */
export function makeOciDocuments (): Target {
  const descriptor = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"${DIGEST}","size":3,"annotations":{"a":"b"},"urls":["ipfs://x"]}`
  const config = descriptor.replace('layer.v1.tar+gzip', 'config.v1+json')
  const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":${config},"layers":[${descriptor}]}`
  const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[${descriptor
    .replace('layer.v1.tar+gzip', 'manifest.v1+json').replace('"size"', '"platform":{"os":"linux","architecture":"arm64","variant":"v8"},"size"')}]}`
  const image = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["${DIGEST}"]},"config":{},"history":[]}`
  const schema1 = '{"schemaVersion":1,"fsLayers":[],"name":"x","signatures":[]}'
  return {
    seeds: buffers(manifest, index, image, descriptor, schema1, '{"imageLayoutVersion":"1.0.0"}'),
    tokens: [...JSON_TOKENS, '"schemaVersion":2', '"mediaType":', '"manifests":', '"layers":', '"config":', '"fsLayers":', '"digest":', '"size":', '"platform":', '"os":', '"variant":',
      '"urls":', '"data":', '"annotations":', '"artifactType":', '"subject":', '"rootfs":', '"diff_ids":', DIGEST, '"\u017fize":', '"Layer\u017f":', '"LAYERS":', 'manifest.v2+json',
      'application/vnd.docker.distribution.manifest.list.v2+json', 'application/vnd.oci.empty.v1+json', '9007199254740992', 'sha512:'],
    run: (input) => {
      const taken = [
        outcomeOf(() => { const found = readManifest(input, null, 'fuzz'); return imageLayers(found, 'fuzz').length }),
        outcomeOf(() => readIndex(input, null, 'fuzz').manifests.length), outcomeOf(() => readConfig(input, 1, 'fuzz').diffIds.length)
      ]
      if (taken.slice(0, 2).every((outcome) => outcome.startsWith('value'))) throw new Broken('an index and a manifest in one')
      outcomeOf(() => { looksLikeDocument(input.subarray(0, 512), input.byteLength, 'fuzz') })
      outcomeOf(() => { checkLayoutFile(input, 'fuzz') })
      const shape = documentShape(input, 'fuzz')
      if (taken[1]?.startsWith('value') === true && shape !== 'index') throw new Broken(`an index that looks like a ${shape}`)
    }
  }
}

/** A reference that is taken names the same when its parts are written plainly. */
export function makeReference (): Target {
  const cid = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
  return {
    seeds: buffers(`ipfs://${cid}@${DIGEST}`, cid, `https://gw.example/ipfs/${cid}`, `https://${cid}.ipfs.gw.example:8080/`, `ipfs:0/${cid}:latest`, `localhost:5000/ipfs/${cid}:1.0@${DIGEST}`,
      `${cid}.ipfs.localhost:80/name:tag`, 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG', 'ipns://example.com', '/ipfs/x', 'docker.io/library/alpine:3', `http://u:p@gw/ipfs/${cid}?a#b`),
    tokens: ['ipfs://', 'ipns://', 'https://', 'http://', '@sha256:', '@', ':', '/', '.ipfs.', '.ipns.', 'localhost', 'ipfs:0/', '?', '#', '%2f', '[::1]', '\\', '..', DIGEST, cid, 'k51qzi5uqu5d', 'z', '@sha512:'],
    bytesMax: 1200,
    run: (input) => {
      outcomeOf(() => parsePlatform(input.toString('latin1')))
      const { cid, digest, gateway } = parseReference(input.toString('utf8'))
      const again = parseReference(`ipfs://${cid.toString()}${digest === null ? '' : `@${digest}`}`)
      same('reference', shown([again.cid.toString(), again.digest]), shown([cid.toString(), digest]))
      if (gateway !== null && !URL.canParse(gateway)) throw new Broken(`gateway ${gateway}`)
    }
  }
}

/** Every wrong file is one CONFIG_INVALID that names it. */
export function makeConfig (): Target {
  const file = join(mkdtempSync(join(tmpdir(), 'config-')), 'c.toml')
  const whole = `root = "/var/lib/x"
state = '/run/x' # comment
[grpc]
address = "/run/x/g.sock"
[cache]
max_size = "20GiB"
key = "boot"
[read]
deadline = "30s"
on_failure = "kill"
[mount]
driver = "auto"
[fetch]
background_rate = "20MB/s"
[http]
address = "127.0.0.1:9300"
[trust]
prove_after = "1.5m"
[[source]]
type = "gateway"
url = "https://gw.example"
timeout = "5s"
[[source]]
type = "car"
path = "/x.car"
`
  return {
    seeds: [...buffers(whole, '', 'a.b.c = [1, 2.5, true, 1979-05-27T07:32:00Z, {x = "y"}]', '"quoted key" = """multi\nline"""\n[x.y."z"]\nq = 0xff')],
    tokens: ['[[source]]', '[cache]', '[', ']', '[[', ']]', '=', '"', "'", '"""', "'''", '\n', '#', '\\u0000', '\\U0010ffff', 'inf', 'nan', '-', '1e400', '1979-05-27', '{', '}', ',', '.', 'root',
      'url', 'type = "car"', '10TiB', 'ms', '/s', '__proto__', 'constructor', '\r', '\0', '\u2028', '127.0.0.1:0', ':99999'],
    bytesMax: 4096,
    batch: 15,
    run: (input) => {
      if (input.includes('token_file') || input.includes('ca_file')) return // they name files of this machine
      writeFileSync(file, input)
      try {
        loadConfig(file, {})
      } catch (error) {
        if (error instanceof SnapshotterError && (error.code !== 'CONFIG_INVALID' || !error.message.startsWith(file))) throw new Broken(`${error.code} ${error.message}`)
        throw error
      }
    }
  }
}

const INFO: SnapshotInfo = {
  name: 'name', parent: 'sha256:parent', kind: 'active', createdNs: 1n, updatedNs: 2n, labels: { 'containerd.io/gc.root': 'x', a: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' }
}

/** Also what a pattern does to a text on which backtracking would explode. */
export function makeFilters (): Target {
  return {
    seeds: buffers('name==name,kind!=view', 'labels."containerd.io/gc.root"', 'parent~=/^sha256:/,labels.a~=|a+b?|', 'labels.a~="(?:a|b){2,3}[^x\\\\d]$"', 'name=="\\x41\\u00e9\\101\\n"', 'labels.a~=/a*a*a!/'),
    tokens: ['==', '!=', '~=', ',', '.', '"', '/', '|', 'labels', 'name', 'kind', '(?:', ')', '(?P<n>', '*', '+', '?', '{2,}', '{1000}', '[^', ']', '\\x', '\\d', '\\\\', '[[:alpha:]]', '^', '$', '(a*)*', '\\pL', '\\b'],
    bytesMax: 600,
    run: (input) => { parseFilters(input.toString('utf8').split('\0'), snapshotField)(INFO) }
  }
}

/** An input is a request line's target, then lines of headers. */
export function makeGatewayRequest (): Target {
  const cid = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
  return {
    seeds: buffers(`/ipfs/${cid}?format=car&dag-scope=entity&entity-bytes=0:*\n*/*\nW/"x", "y"\nno-cache`, `/ipfs/${cid}/a%20b/c\napplication/vnd.ipld.car; version=1; order=dfs; dups=y;q=0.5, application/vnd.ipld.raw;q=1`,
      `/ipfs/${cid}?format=raw&filename=%C3%A9.bin\n\n*`, '/ipns/x\n', `/ipfs/${cid}?format=car&entity-bytes=-10:-1&car-dups=n&car-order=unk`),
    tokens: ['format=', 'raw', 'car', 'dag-scope=', 'entity-bytes=', 'filename=', 'all', 'block', '%', '%zz', '%ff', '&', '?', '/', '//', '..', ';', ',', 'q=', '"', '\\', '-0', '*', ':', 'application/vnd.ipld.car', '\n', '999999999999999',
      'Wed, 21 Oct 2099 07:28:00 GMT'],
    bytesMax: 1500,
    run: (input) => {
      const [url = '', accept = '', match = '', cache = ''] = input.toString('latin1').split('\n')
      for (const text of [url, accept]) for (const value of [retryAfterMs({ 'retry-after': text }, 0) ?? 0, restMs({ 'retry-after': text }, 0), remainingRequests({ 'ratelimit-remaining': text }) ?? 0]) {
        if (!(value >= 0 && value <= 1e9)) throw new Broken(`wait of ${value}`)
      }
      if (!/^[\x21-\x7e\x80-\xff]*$/.test(url)) return // Node's HTTP parser lets nothing else through
      const request = parseRequest({ url, headers: { accept, 'if-none-match': match, 'cache-control': cache } })
      const headers = { ...cacheHeaders(request), ...contentHeaders(request, [request.root]) }
      for (const [name, value] of Object.entries(headers)) if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) throw new Broken(`header ${name} cannot be sent`)
      matchesEtag(match, headers['ETag'] ?? '')
      if (request.format.kind !== 'car' || request.format.bytes === null) return
      const span = resolveSpan(request.format.bytes, 1000)
      if (span !== null && !(span.from >= 0 && span.from < span.to && span.to <= 1000)) throw new Broken(`span ${span.from} ${span.to}`)
      parseEntityBytes(`${request.format.bytes.from}:*`)
    }
  }
}
