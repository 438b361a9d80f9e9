// An image of one static program and files of the test's choice, as an OCI layout directory with plain gzip layers, and
// the hashes that the files must have inside a container.
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { compiled } from './compiled.ts'

export interface ProgramImage {
  /** OCI layout directory. */
  readonly layout: string
  /** The program, on this machine. */
  readonly program: string
  /** Path in the image → sha256 of the content. */
  readonly hashes: ReadonlyMap<string, string>
  /** What a container that reads these paths must print, as `hashLines` gives it. */
  readonly expected: (paths: readonly string[]) => Record<string, string>
}

// The words are files; each is read by a process of its own, all at once, and "sha256 path" is printed when it is done.
//   sha FILE…   fresh FILE… (the same after the files' pages were dropped)   hold FILE… (prints "ready", waits for a line first)
//   obey        does what the lines `NUMBER ROUNDS FILE…` of the FIFO /out/commands say, as fresh does, each file ROUNDS times; each line
//               in /out/said begins with the number, the last one is `NUMBER done`. Its own pages stay in memory. Ends at `quit`.
//   pause       waits for a signal, as what holds a pod does
const SOURCE = `
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static const char* mark = ""; // stands before each line
// Also into a file, if there is one: ctr loses the last words of a container now and then.
static bool say(int stream, const char* line) {
  const size_t length = strlen(line);
  const int file = open("/out/said", O_WRONLY | O_APPEND);
  const bool kept = file < 0 || write(file, line, length) == (ssize_t)length;
  return write(stream, line, length) == (ssize_t)length && kept;
}
static int complain(const char* path) {
  char line[5000];
  snprintf(line, sizeof line, "%s%s: %s\\n", mark, path, strerror(errno));
  say(2, line);
  return 1;
}
static int show(const char* path, bool fresh) {
  const int file = open(path, O_RDONLY);
  if (file < 0) return complain(path);
  if (fresh) posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  SHA256_CTX hash;
  SHA256_Init(&hash);
  static char buffer[1 << 17];
  for (;;) {
    const ssize_t got = read(file, buffer, sizeof buffer);
    if (got < 0) return complain(path);
    if (got == 0) break;
    SHA256_Update(&hash, buffer, got);
  }
  unsigned char digest[32];
  SHA256_Final(digest, &hash);
  char line[5000];
  int at = snprintf(line, sizeof line, "%s", mark);
  for (const unsigned char byte : digest) at += snprintf(line + at, 3, "%02x", byte);
  snprintf(line + at, sizeof line - at, " %s\\n", path);
  return say(1, line) ? 0 : 1;
}
static void act(char* command) {
  static char number[64];
  char *rest = nullptr, *word = strtok_r(command, " ", &rest), *rounds = strtok_r(nullptr, " ", &rest);
  snprintf(number, sizeof number, "%s ", word);
  mark = number;
  for (const char* path; (path = strtok_r(nullptr, " ", &rest)) != nullptr;) {
    if (fork() != 0) continue;
    for (int left = atoi(rounds); left > 0; left--) show(path, true);
    _exit(0);
  }
  while (wait(nullptr) > 0) {}
  char line[80];
  snprintf(line, sizeof line, "%sdone\\n", number);
  say(1, line);
}
static int obey() {
  mlockall(MCL_CURRENT);
  FILE* commands = fopen("/out/commands", "r+"); // for both: it never ends
  if (commands == nullptr) return complain("/out/commands");
  say(1, "ready\\n");
  static char line[1 << 16];
  while (fgets(line, sizeof line, commands) != nullptr && strcmp(line, "quit\\n") != 0) {
    line[strcspn(line, "\\n")] = 0;
    act(line);
  }
  return 0;
}
static void leave(int) { _exit(0); }
int main(int count, char** words) {
  if (count < 2) return 2;
  if (!strcmp(words[1], "pause")) { signal(SIGTERM, leave); pause(); return 0; }
  if (!strcmp(words[1], "obey")) return obey();
  if (!strcmp(words[1], "hold")) { if (write(1, "ready\\n", 6) != 6) return 1; char c; if (read(0, &c, 1) < 0) return 1; }
  int failed = 0, status = 0;
  for (int at = 2; at < count; at++) {
    const int child = fork();
    if (child == 0) _exit(show(words[at], !strcmp(words[1], "fresh")));
    if (child < 0) failed += complain(words[at]);
  }
  while (wait(&status) > 0) if (status != 0) failed++;
  return failed > 0 ? 1 : 0;
}
`

export type Files = Readonly<Record<string, Uint8Array | string>>

export interface ImageChoice {
  readonly architecture?: string
  /** What a container does that is told nothing else; default: it waits. */
  readonly command?: readonly string[]
}

/** `layers` in order above a base layer with the program at /bin/e2e and the directories that runc mounts on. */
export function programImage (folder: string, layers: readonly Files[], options: ImageChoice = {}): ProgramImage {
  const layout = join(folder, 'layout')
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true })
  const base = join(folder, 'layer-base')
  for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp']) mkdirSync(join(base, name), { recursive: true })
  copyFileSync(program(), join(base, 'bin/e2e'))
  const hashes = new Map<string, string>()
  const directories = [base, ...layers.map((files, at) => {
    const directory = join(folder, `layer-${at}`)
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, path)), { recursive: true })
      writeFileSync(join(directory, path), content)
      hashes.set(path, createHash('sha256').update(content).digest('hex'))
    }
    return directory
  })]
  const tars = directories.map((directory) =>
    execFileSync('tar', ['--sort=name', '--mtime=@0', '--numeric-owner', '--owner=0', '--group=0', '-C', directory, '-cf', '-', '.'], { maxBuffer: 1 << 30 }))
  writeDocuments(layout, tars, options)
  return { layout, program: join(base, 'bin/e2e'), hashes, expected: (paths) => Object.fromEntries(paths.map((path) => [path, hashes.get(path) ?? 'no such file'])) }
}

/** `count` files of incompressible bytes at /data/0, /data/1, …: nothing of one stands in a block of another by chance. */
export function randomFiles (count: number, bytes: number, first = 0): Files {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`/data/${first + at}`, randomBytes(bytes)]))
}

/** What the program printed: path → sha256. Lines of failed reads show as themselves. */
export function hashLines (printed: string): Record<string, string> {
  return Object.fromEntries(printed.trim().split('\n').filter((line) => line !== 'ready').map((line) => {
    const [, hash = line, path = 'unexpected'] = /^([0-9a-f]{64}) (\S+)$/.exec(line) ?? []
    return [path, hash]
  }))
}

function writeDocuments (layout: string, tars: readonly Buffer[], choice: ImageChoice): void {
  const { architecture = process.arch === 'arm64' ? 'arm64' : 'amd64', command = ['/bin/e2e', 'pause'] } = choice
  const store = (mediaType: string, bytes: Uint8Array): { mediaType: string, digest: string, size: number } => {
    const digest = sha256(bytes)
    writeFileSync(join(layout, 'blobs/sha256', digest.slice(7)), bytes)
    return { mediaType, digest, size: bytes.byteLength }
  }
  const json = (mediaType: string, document: object): { mediaType: string, digest: string, size: number } =>
    store(mediaType, Buffer.from(JSON.stringify(document)))
  const layers = tars.map((tar) => store('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(tar, { level: 1 })))
  const config = json('application/vnd.oci.image.config.v1+json', {
    architecture, os: 'linux', config: { Env: ['PATH=/bin'], Cmd: command }, rootfs: { type: 'layers', diff_ids: tars.map(sha256) }
  })
  const manifest = json('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers
  })
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  writeFileSync(join(layout, 'index.json'), JSON.stringify({
    schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [{ ...manifest, platform: { os: 'linux', architecture } }]
  }))
}

function sha256 (bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Its path. */
function program (): string {
  return compiled('e2e-program', SOURCE, '-Wno-deprecated-declarations', '-lcrypto')
}
