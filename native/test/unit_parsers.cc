// What comes from outside: mountinfo, frames, gzip members, the control socket.
#include "../connections.hh"
#include "../gzip_stream.hh"
#include "../inflate.hh"
#include "../mountinfo.hh"
#include "unit.hh"

#include <filesystem>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

namespace {

std::vector<uint8_t> gzip(const std::vector<uint8_t>& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::vector<uint8_t> out(deflateBound(&stream, bytes.size()) + 64);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

void testMountInfo() {
  check(decodeMountField("a\\040b\\011c\\012d\\134e") == "a b\tc\nd\\e", "octal escapes are decoded");
  check(decodeMountField("\\04") == "\\04" && decodeMountField("x\\999") == "x\\999", "what is no escape stays");
  check(decodeMountField("\\040") == " ", "an escape may be all there is");
  const auto entries = parseMountInfo(
      "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw\nnonsense\n"
      "37 35 0:44 / /x ro - fuse.ipfs-snapshotter ipfs-snapshotter ro\n38 35 0:45 / /y ro -\n");
  check(entries.size() == 2, "lines that are cut or foreign are skipped");
  check(entries[0].point == "/mnt 2" && entries[0].type == "ext3" && entries[0].major == 98, "optional fields are stepped over");
  check(entries[1].minor == 44 && entries[1].type == "fuse.ipfs-snapshotter", "no optional field is fine");
  check(isBelow("/a/b", "/a") && isBelow("/a", "/"), "below is below");
  check(!isBelow("/a", "/a") && !isBelow("/ab", "/a") && !isBelow("/a/", "/a"), "below is strict");
}

void testFrames() {
  ByteWriter writer = beginFrame(FrameType::kResult, 7);
  writer.number<int32_t>(-5).string("hello");
  const auto frame = finishFrame(writer);
  ByteReader reader(frame);
  check(reader.number<uint32_t>() == frame.size() - 4, "a frame's length is of what follows");
  check(reader.number<uint8_t>() == 6 && reader.number<uint8_t>() == 0 && reader.number<uint16_t>() == 0, "type and zeros");
  check(reader.number<uint32_t>() == 7 && reader.number<int32_t>() == -5 && reader.string() == "hello", "id and body");
  check(errorOf([&] { reader.number<uint8_t>(); }) == EPROTO, "reading past the end is refused");
  const std::vector<uint8_t> lying = {0xff, 0xff, 'a'};
  check(errorOf([&] { ByteReader(lying).string(); }) == EPROTO, "a string longer than its frame is refused");
  check(errorOf([&] { ByteReader(lying).end(); }) == EPROTO, "bytes left over are refused");
}

void testInflate() {
  for (const size_t size : {size_t{1}, size_t{4096}, size_t{70000}, size_t{3000000}}) {
    const auto bytes = pattern(size, 1);
    check(inflateGzip(gzip(bytes), size) == bytes, "a member of " + std::to_string(size) + " bytes");
    const std::vector<uint8_t> half(bytes.begin(), bytes.begin() + static_cast<long>((size + 1) / 2));
    check(inflateGzip(gzip(bytes), half.size()) == half, "the start of a member of " + std::to_string(size) + " bytes");
    check(inflateGzip(gzip(bytes), size + 1).empty(), "a member that is one byte too short");
  }
  const auto one = pattern(50000, 2);
  const auto two = pattern(60000, 3);
  auto joined = gzip(one);
  const auto second = gzip(two);
  joined.insert(joined.end(), second.begin(), second.end());
  check(inflateGzip(joined, one.size()) == one, "members that follow are ignored");
  auto both = one;
  both.insert(both.end(), two.begin(), two.end());
  check(inflateGzip(joined, both.size()) == both, "members that follow are inflated when needed");
  for (size_t cut = 0; cut < second.size(); cut += 997) {
    check(inflateGzip(std::span(second).first(cut), two.size()).empty(), "a member cut at " + std::to_string(cut));
  }
  check(inflateGzip(pattern(5000, 4), 100).empty(), "noise");
}

// Everything that comes out of it, in pieces; `problem` as the stream has it, or "cut".
std::vector<uint8_t> gunzip(std::span<const uint8_t> input, bool zlib, size_t piece, std::string& problem) {
  GzipStream stream(makeInflater(zlib));
  std::vector<uint8_t> all;
  for (bool moved = true; moved;) {
    auto in = input.first(std::min(piece, input.size()));
    const size_t offered = in.size();
    std::vector<uint8_t> out(piece);
    std::span<uint8_t> room(out);
    const bool good = stream.inflate(in, room);
    moved = good && (in.size() < offered || room.size() < piece);
    all.insert(all.end(), out.begin(), out.end() - static_cast<long>(room.size()));
    input = input.subspan(offered - in.size());
  }
  problem = stream.problem().empty() && !stream.isWhole() ? "cut" : stream.problem();
  return all;
}

void testGzipStream() {
  const auto one = pattern(300000, 5);
  const auto two = pattern(70000, 6);
  auto joined = gzip(one);
  for (const auto& more : {gzip({}), gzip(two)}) joined.insert(joined.end(), more.begin(), more.end());
  auto both = one;
  both.insert(both.end(), two.begin(), two.end());
  std::string problem;
  for (const bool zlib : {true, false}) {
    for (const size_t piece : {size_t{1}, size_t{13}, size_t{4096}, size_t{1000000}}) {
      check(gunzip(joined, zlib, piece, problem) == both && problem.empty(), "members in pieces of " + std::to_string(piece));
    }
    gunzip(std::span(joined).first(joined.size() - 1), zlib, 4096, problem);
    check(problem == "cut", "a member without its last byte is cut");
    gunzip({}, zlib, 4096, problem);
    check(problem == "cut", "nothing is no member");
    auto longer = joined;
    longer.push_back(0);
    check(gunzip(longer, zlib, 4096, problem) == both && problem == "data after the last gzip member", "what follows is refused");
    auto wrong = joined;
    wrong[wrong.size() - 8] ^= 1;
    gunzip(wrong, zlib, 4096, problem);
    check(!problem.empty() && problem != "cut", "a wrong checksum is refused");
    gunzip(pattern(5000, 7), zlib, 4096, problem);
    check(!problem.empty(), "noise is refused");
  }
}

void testBackPressure() {
  const std::string path = std::filesystem::temp_directory_path() / ("native-unit-" + std::to_string(::getpid()) + ".sock");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  const Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  check(::bind(listener.get(), raw, sizeof address) == 0 && ::listen(listener.get(), 1) == 0, "a socket to test on");
  Connections connections(listener.get());
  check(::connect(client.get(), raw, sizeof address) == 0, "a client on it");
  connections.wait(0, -1, true);
  ByteWriter writer = beginFrame(FrameType::kSupply, 3);
  writer.text(std::string(100000, 'x'));
  const auto frame = finishFrame(writer);
  check(::send(client.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size()), "a frame on its way");
  uint64_t connection = 0;
  Frame received;
  for (int round = 0; round < 5; round++) connections.wait(0, -1, false);
  int waiting = 0;
  check(::ioctl(client.get(), SIOCOUTQ, &waiting) == 0 && waiting > 0, "no room: it stays in the socket");
  check(!connections.takeFrame(connection, received), "and is not handed out");
  for (int round = 0; round < 5; round++) connections.wait(0, -1, true);
  check(connections.takeFrame(connection, received) && received.id == 3 && received.body().size() == 100000, "room: it arrives");
  for (int answer = 0; answer < 400; answer++) connections.post(connection, std::vector<uint8_t>(1024 * 1024));
  connections.wait(0, -1, true);
  check(connections.takeClosed() == std::vector{connection}, "a client that reads nothing is closed, its answers are not kept");
  ::unlink(path.c_str());
}

}  // namespace

void testParsers() {
  testMountInfo();
  testFrames();
  testInflate();
  testGzipStream();
  testBackPressure();
}
