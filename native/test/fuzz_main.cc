// With libFuzzer (scripts/fuzz-native): FUZZ_TARGET names what to feed. Without: replays the files that the command line names,
// `ipfs-snapshotter-native-fuzz TARGET FILE…`, and prints how many.
#include "fuzz_rig.hh"

#include <cstdio>
#include <cstdlib>
#include <map>

namespace {

using Target = void (*)(std::span<const uint8_t>);

Target targetOf(const char* name) {
  static const std::map<std::string, Target> kTargets = {{"requests", fuzzRequests}, {"frames", fuzzFrames}, {"link", fuzzLink}, {"gzip", fuzzGzip}};
  const auto found = kTargets.find(name == nullptr ? "" : name);
  if (found != kTargets.end()) return found->second;
  std::fprintf(stderr, "give a target: requests, frames, link or gzip\n");
  std::exit(2);
}

}  // namespace

#ifdef WITH_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Target target = targetOf(std::getenv("FUZZ_TARGET"));
  target({data, size});
  return 0;
}
#else
int main(int count, char** values) {
  const Target target = targetOf(count > 1 ? values[1] : nullptr);
  std::vector<std::string> inputs;  // read while we still may
  for (int at = 2; at < count; at++) inputs.push_back(readText(values[at]));
  for (const auto& input : inputs) target({reinterpret_cast<const uint8_t*>(input.data()), input.size()});
  std::printf("%zu inputs\n", inputs.size());
  std::fflush(stdout);
  std::_Exit(0);
}
#endif
