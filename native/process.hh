// What guardian and worker do to their own process at start: limits, memory, signals. All best effort.
#pragma once

/** Raises the soft limit of open files to the hard one: each layer takes up to four. */
void raiseFileLimit();
/** Keeps touched pages in memory: a page-in from a mount that this process serves would wait for itself. */
void lockMemory();
/** Large buffers go back to the system when freed; few arenas. */
void tuneAllocator();
void ignoreSignals();
/** -1000 (never) to 1000 (first): whom the kernel kills when memory is short. */
void setOomScore(int score);
