// A host whose clock jumps and whose resolver fails, for the processes that are started with its environment: a library that is
// loaded before libc answers for the real-time clock and for names that end in .faults.test, as a file tells it to.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compiledLibrary } from '../e2e/compiled.ts'

/** Names below it lead to 127.0.0.1, while there is a resolver. */
export const NAME = 'gateway.faults.test'

const SOURCE = `
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
struct State { int64_t seconds, nameless; };
static const State nothing{};
static const volatile State* state = &nothing;
__attribute__((constructor)) static void load() {
  const char* path = getenv("FAULTS_HOST");
  const int file = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  void* mapped = file < 0 ? MAP_FAILED : mmap(nullptr, sizeof(State), PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) state = static_cast<const State*>(mapped);
  if (file >= 0) close(file);
}
template <class Function> static Function* next(const char* name) { return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name)); }
extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  static auto* real = next<int(clockid_t, timespec*)>("clock_gettime");
  const int failed = real(clock, now);
  if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += state->seconds;
  return failed;
}
extern "C" int gettimeofday(timeval* now, void* zone) noexcept {
  static auto* real = next<int(timeval*, void*)>("gettimeofday");
  const int failed = real(now, zone);
  if (failed == 0) now->tv_sec += state->seconds;
  return failed;
}
extern "C" time_t time(time_t* out) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints, addrinfo** found) {
  static auto* real = next<int(const char*, const char*, const addrinfo*, addrinfo**)>("getaddrinfo");
  const char* end = name == nullptr ? nullptr : strstr(name, ".faults.test");
  if (end == nullptr) return real(name, service, hints, found);
  return state->nameless != 0 ? EAI_AGAIN : real("127.0.0.1", service, hints, found);
}
`

export class UnreliableHost {
  readonly #folder = mkdtempSync(join(tmpdir(), 'host-'))
  readonly #file = join(this.#folder, 'state')
  readonly #library = compiledLibrary('unreliable-host', SOURCE, '-fno-threadsafe-statics', '-ldl')
  #seconds = 0
  #nameless = false

  constructor () {
    writeFileSync(this.#file, new Uint8Array(16))
  }

  get environment (): Record<string, string> {
    return { LD_PRELOAD: this.#library, FAULTS_HOST: this.#file }
  }

  /** The wall clock is so many seconds off. */
  setClock (seconds: number): void {
    this.#seconds = seconds
    this.#write()
  }

  /** Whether the resolver answers. */
  setNames (known: boolean): void {
    this.#nameless = !known
    this.#write()
  }

  close (): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #write (): void {
    const words = new BigInt64Array([BigInt(this.#seconds), BigInt(this.#nameless)])
    writeFileSync(this.#file, new Uint8Array(words.buffer), { flag: 'r+' })
  }
}
