// What the environment says of the terminal.

/** It cannot move its cursor: one in an editor, say. */
export function isDumbTerminal (): boolean {
  return process.env['TERM'] === 'dumb'
}
