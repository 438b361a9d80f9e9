// Undoes what was started, last first, whatever happens; a step that fails is said and does not stop the others.

export class Cleanup {
  readonly #steps: Array<{ readonly what: string, readonly undo: () => Promise<void> }> = []

  add (what: string, undo: () => Promise<void>): void {
    this.#steps.push({ what, undo })
  }

  async run (): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo()
      } catch (error) {
        process.stderr.write(`could not ${step.what}: ${String(error)}\n`)
      }
    }
  }
}
