// The replaceable half of the data plane: serves FUSE reads and control. Started by the guardian only, with four descriptors.
#pragma once

constexpr int kWorkerDeviceFd = 3;    // the shared /dev/fuse, mounted and initialised
constexpr int kWorkerListenerFd = 4;  // data.sock
constexpr int kWorkerLinkFd = 5;      // to the guardian
constexpr int kWorkerSlotsFd = 6;     // memory for requests that are not answered yet
constexpr int kConnectionGone = 3;    // exit status: the FUSE connection has ended, another worker would find nothing to serve

/** Serves until the FUSE connection has ended, then exits. */
[[noreturn]] void runWorker();
