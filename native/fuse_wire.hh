// The kernel's FUSE structures, and what Debian 12's header does not name yet.
#pragma once

#include <cstdint>
#include <linux/fuse.h>

namespace wire {

constexpr uint64_t kHasResend = 1ULL << 39;  // FUSE_HAS_RESEND, Linux 6.9
constexpr int32_t kNotifyResend = 7;         // FUSE_NOTIFY_RESEND: unanswered requests are handed out again
constexpr uint32_t kMaxWrite = 4096;         // nobody writes: keeps the request buffers small
constexpr uint32_t kRequestBufferBytes = 16384;
constexpr uint16_t kMaxPages = 256;  // READs of 1 MiB at most
constexpr uint32_t kReadMax = kMaxPages * 4096u;

}  // namespace wire
