// ISA-L is looked for when the program runs, not when it is linked: a package that was built with its header works without it, and
// its security updates come from the system.
#include "gzip_stream.hh"

#include "support.hh"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <zlib.h>

#ifdef HAVE_ISAL
#include <dlfcn.h>
#include <isa-l/igzip_lib.h>
#endif

namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib: largest window, gzip wrapper
constexpr uint8_t kMagic = 0x1f;      // the first byte of a member

uint32_t bounded(size_t length) {
  return static_cast<uint32_t>(std::min<size_t>(length, std::numeric_limits<uint32_t>::max()));
}

class ZlibInflater : public Inflater {
 public:
  ZlibInflater() {
    if (inflateInit2(&stream_, kGzipWindow) != Z_OK) throw Failure(ENOMEM, "zlib cannot start");
  }
  ~ZlibInflater() override { inflateEnd(&stream_); }

  Step step(std::span<const uint8_t>& in, std::span<uint8_t>& out) override {
    stream_.next_in = const_cast<Bytef*>(in.data());
    stream_.avail_in = bounded(in.size());
    stream_.next_out = out.data();
    stream_.avail_out = bounded(out.size());
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    in = in.subspan(static_cast<size_t>(stream_.next_in - in.data()));
    out = out.subspan(static_cast<size_t>(stream_.next_out - out.data()));
    if (result == Z_STREAM_END) return Step::kMemberEnd;
    return result == Z_OK || result == Z_BUF_ERROR ? Step::kGoOn : Step::kDamaged;
  }

  void reset() override { inflateReset(&stream_); }
  std::string problem() const override { return stream_.msg == nullptr ? "unknown gzip method or flags" : stream_.msg; }

 private:
  z_stream stream_{};
};

#ifdef HAVE_ISAL
struct IsaL {
  decltype(&isal_inflate_init) init = nullptr;
  decltype(&isal_inflate_reset) reset = nullptr;
  decltype(&isal_inflate) inflate = nullptr;

  static const IsaL* find() {
    static const IsaL found = load();
    return found.inflate == nullptr ? nullptr : &found;
  }

 private:
  static IsaL load() {
    void* library = dlopen("libisal.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return {};
    IsaL names;
    names.init = reinterpret_cast<decltype(names.init)>(dlsym(library, "isal_inflate_init"));
    names.reset = reinterpret_cast<decltype(names.reset)>(dlsym(library, "isal_inflate_reset"));
    names.inflate = reinterpret_cast<decltype(names.inflate)>(dlsym(library, "isal_inflate"));
    return names.init == nullptr || names.reset == nullptr ? IsaL{} : names;
  }
};

class IsaLInflater : public Inflater {
 public:
  explicit IsaLInflater(const IsaL& library) : library_(library), state_(std::make_unique<inflate_state>()) {
    library_.init(state_.get());
    state_->crc_flag = ISAL_GZIP;
  }

  Step step(std::span<const uint8_t>& in, std::span<uint8_t>& out) override {
    state_->next_in = const_cast<uint8_t*>(in.data());
    state_->avail_in = bounded(in.size());
    state_->next_out = out.data();
    state_->avail_out = bounded(out.size());
    result_ = library_.inflate(state_.get());
    in = in.subspan(static_cast<size_t>(state_->next_in - in.data()));
    out = out.subspan(static_cast<size_t>(state_->next_out - out.data()));
    if (result_ < 0) return Step::kDamaged;
    return state_->block_state == ISAL_BLOCK_FINISH ? Step::kMemberEnd : Step::kGoOn;
  }

  void reset() override {
    library_.reset(state_.get());
    state_->crc_flag = ISAL_GZIP;
  }

  std::string problem() const override {
    switch (result_) {
      case ISAL_INVALID_BLOCK: return "invalid block type or lengths";
      case ISAL_INVALID_SYMBOL: return "invalid code";
      case ISAL_INVALID_LOOKBACK: return "invalid distance too far back";
      case ISAL_INCORRECT_CHECKSUM: return "incorrect data check";
      default: return "unknown gzip method or flags";
    }
  }

 private:
  const IsaL& library_;
  std::unique_ptr<inflate_state> state_;  // 100 KiB
  int result_ = 0;
};
#endif

}  // namespace

std::unique_ptr<Inflater> makeInflater(bool zlib) {
#ifdef HAVE_ISAL
  const IsaL* library = zlib ? nullptr : IsaL::find();
  if (library != nullptr) return std::make_unique<IsaLInflater>(*library);
#endif
  (void)zlib;
  return std::make_unique<ZlibInflater>();
}

bool GzipStream::inflate(std::span<const uint8_t>& in, std::span<uint8_t>& out) {
  while (!out.empty()) {
    if (betweenMembers_) {
      if (in.empty()) return true;
      if (members_ > 0 && in.front() != kMagic) {
        problem_ = "data after the last gzip member";
        return false;
      }
      if (members_ > 0) inflater_->reset();
      betweenMembers_ = false;
    }
    const size_t before = in.size() + out.size();
    const auto step = inflater_->step(in, out);
    if (step == Inflater::Step::kDamaged) {
      problem_ = inflater_->problem();
      return false;
    }
    if (step == Inflater::Step::kMemberEnd) {
      betweenMembers_ = true;
      members_++;
    } else if (in.empty() || in.size() + out.size() == before) {
      return true;  // it wants more, or keeps what does not fit
    }
  }
  return true;
}
