// What publishing tells whoever watches.
export type { ProgressEvent, Report } from '../base/report.ts'
