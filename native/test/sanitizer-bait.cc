// One mistake for each sanitizer: shows that a build with it would say so.
#include <cstdlib>
#include <thread>
#include <vector>

int main(int count, char**) {
  std::vector<int> numbers(4);
  int shared = 0;
  std::thread other([&] { shared += numbers[0]; });
  shared++;
  other.join();
  volatile int* raw = numbers.data();
  return raw[3 + count];
}
