// gzip members one after the other, inflated piece by piece with flat memory: ISA-L where the machine has it (three to four times
// faster), zlib where not. Header, CRC and length of each member are checked. Format: RFC 1952.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

/** How one member is inflated. */
class Inflater {
 public:
  enum class Step { kGoOn, kMemberEnd, kDamaged };

  virtual ~Inflater() = default;
  /** Takes from the front of `in` and fills the front of `out`, shortening both. */
  virtual Step step(std::span<const uint8_t>& in, std::span<uint8_t>& out) = 0;
  /** Another member follows. */
  virtual void reset() = 0;
  /** What is wrong, after kDamaged. */
  virtual std::string problem() const = 0;
};

/** The faster one that there is; `zlib`: that one in any case. */
std::unique_ptr<Inflater> makeInflater(bool zlib);

class GzipStream {
 public:
  explicit GzipStream(std::unique_ptr<Inflater> inflater) : inflater_(std::move(inflater)) {}

  /** As `step`, across members. False when all that came before is damaged, or followed by something else: see `problem`. */
  bool inflate(std::span<const uint8_t>& in, std::span<uint8_t>& out);
  /** The input has ended here: is that the end of a member? */
  bool isWhole() const { return betweenMembers_ && members_ > 0; }
  const std::string& problem() const { return problem_; }

 private:
  std::unique_ptr<Inflater> inflater_;
  bool betweenMembers_ = true;
  size_t members_ = 0;
  std::string problem_;
};
