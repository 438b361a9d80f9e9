// A runnable image of a few hundred kilobytes: one static program over two layers, as directories, as an OCI archive
// for `ctr images import`, and as the plan that our pull takes.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { CID } from 'multiformats/cid'
import type { ImagePlan, PlannedLayer, VerifiedDocument } from '../../src/image/plan.ts'
import { chainIds, type Digest, digestBytes, digestOf } from '../../src/verify/digest.ts'
import { verifyDigest } from '../../src/verify/verified-bytes.ts'
import { create as createMultihash } from 'multiformats/hashes/digest'

export interface TinyImage {
  readonly plan: ImagePlan
  /** Each layer's files, base first. */
  readonly directories: readonly string[]
  /** OCI archive, tagged with `name`. */
  readonly archive: string
  readonly name: string
}

// What it prints goes into /out/said where there is one: ctr loses lines of short containers on a busy machine.
// cat FILE… prints files; write FILE TEXT writes one; hold FILE prints "ready", waits for a line on stdin, then prints FILE.
const PROGRAM = `
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static int show(const char* path) {
  FILE* file = fopen(path, "r");
  if (!file) { perror(path); return 1; }
  char buffer[4096];
  size_t got;
  while ((got = fread(buffer, 1, sizeof buffer, file)) > 0) fwrite(buffer, 1, got, stdout);
  int bad = ferror(file);
  if (bad) perror(path);
  fclose(file);
  return bad ? 1 : 0;
}
int main(int count, char** words) {
  if (count < 2) return 2;
  if (!access("/out/said", W_OK)) freopen("/out/said", "w", stdout);
  int failed = 0;
  if (!strcmp(words[1], "cat")) for (int at = 2; at < count; at++) failed |= show(words[at]);
  if (!strcmp(words[1], "mode")) for (int at = 2; at < count; at++) {
    struct stat entry;
    if (stat(words[at], &entry)) { perror(words[at]); failed = 1; } else printf("%o\\n", entry.st_mode & 07777);
  }
  if (!strcmp(words[1], "write") && count == 4) {
    FILE* file = fopen(words[2], "w");
    if (!file) { perror(words[2]); return 1; }
    fputs(words[3], file);
    fclose(file);
    failed = show(words[2]);
  }
  if (!strcmp(words[1], "hold") && count == 3) {
    printf("ready\\n");
    fflush(stdout);
    getchar();
    failed = show(words[2]);
  }
  return failed;
}
`

/** @param variant goes into a file, so that two images can differ in every digest. */
export function tinyImage (folder: string, variant = 'one'): TinyImage {
  mkdirSync(folder, { recursive: true })
  const base = join(folder, 'base')
  const upper = join(folder, 'upper')
  for (const path of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) mkdirSync(join(base, path), { recursive: true })
  mkdirSync(join(upper, 'etc'), { recursive: true })
  writeFileSync(join(folder, 'program.cc'), PROGRAM)
  execFileSync('g++', ['-O1', '-static', '-s', '-o', join(base, 'bin/tiny'), join(folder, 'program.cc')])
  writeFileSync(join(base, 'etc/base'), `base ${variant}\n`)
  writeFileSync(join(base, 'etc/message'), 'from the base\n')
  writeFileSync(join(upper, 'etc/message'), `from the upper layer ${variant}\n`)
  execFileSync('chmod', ['1777', join(base, 'tmp')])

  const name = `example.test/tiny:${variant}`
  const directories = [base, upper]
  const tars = directories.map((directory) =>
    execFileSync('tar', ['--sort=name', '--numeric-owner', '-C', directory, '-cf', '-', '.'], { maxBuffer: 64 << 20 }))
  const blobs = tars.map((tar) => gzipSync(tar))
  const plan = planOf(tars, blobs)
  return { plan, directories, name, archive: archiveOf(folder, name, plan, blobs) }
}

function planOf (tars: readonly Buffer[], blobs: readonly Buffer[]): ImagePlan {
  const diffIds = tars.map((tar) => digestOf(tar))
  const chain = chainIds(diffIds)
  const layers: PlannedLayer[] = blobs.map((blob, at) => ({
    digest: digestOf(blob),
    diffId: diffIds[at] as Digest,
    chainId: chain[at] as Digest,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
    size: blob.byteLength,
    annotations: { 'containerd.io/snapshot/test.cid': `layer-${at}`, 'org.example.other': 'stays here' },
    cid: cidOf(digestOf(blob))
  }))
  const config = document('application/vnd.oci.image.config.v1+json', {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux',
    config: { Cmd: ['/bin/tiny', 'cat', '/etc/message'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: diffIds }
  })
  const manifest = document('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config: descriptor(config),
    layers: layers.map(({ mediaType, digest, size, annotations }) => ({ mediaType, digest, size, annotations }))
  })
  const index = document('application/vnd.oci.image.index.v1+json', {
    schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ ...descriptor(manifest), platform: { os: 'linux', architecture: process.arch === 'arm64' ? 'arm64' : 'amd64' } }]
  })
  const cid = cidOf(index.digest)
  return {
    reference: { cid, digest: null, gateway: null, text: `ipfs://${cid.toString()}` },
    rootCid: cid, canonical: `ipfs://${cid.toString()}@${manifest.digest}`, index, manifest, config, platform: 'linux/amd64', layers
  }
}

function archiveOf (folder: string, name: string, plan: ImagePlan, blobs: readonly Buffer[]): string {
  const layout = join(folder, 'layout')
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  const index = JSON.parse(Buffer.from((plan.index as VerifiedDocument).bytes).toString()) as { manifests: Array<Record<string, unknown>> }
  index.manifests = index.manifests.map((entry) => ({ ...entry, annotations: { 'io.containerd.image.name': name } }))
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index))
  for (const bytes of [plan.manifest.bytes, plan.config.bytes, ...blobs]) {
    writeFileSync(join(layout, 'blobs/sha256', digestOf(bytes).slice('sha256:'.length)), bytes)
  }
  const archive = join(folder, 'image.tar')
  execFileSync('tar', ['-C', layout, '-cf', archive, '.'])
  return archive
}

function document (mediaType: string, content: object): VerifiedDocument {
  const bytes = Buffer.from(JSON.stringify(content))
  return { mediaType, digest: digestOf(bytes), bytes: verifyDigest(digestOf(bytes), bytes, mediaType) }
}

function descriptor ({ mediaType, digest, bytes }: VerifiedDocument): { mediaType: string, digest: string, size: number } {
  return { mediaType, digest, size: bytes.byteLength }
}

const RAW = 0x55
const SHA2_256 = 0x12

function cidOf (digest: Digest): CID {
  return CID.createV1(RAW, createMultihash(SHA2_256, digestBytes(digest)))
}
