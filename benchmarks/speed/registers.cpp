// The most that this machine's cores can compute: multiply-add instructions on registers alone,
// AMX's tiles among them, all cores at once. Prints one JSON object: dtype -> chains -> GFLOP/s.
//
// The loops are assembly, so no compiler can drop, vectorise or spill them; each is first run a
// thousand times and its sum checked. `chains` independent accumulators hide the latency of an
// instruction: where more of them give no more, it is throughput that limits, as it should be.
// Compile it for plain x86-64: the program asks the processor what it has.

#include <cpuid.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

// Accumulators 0..7, 8..11, 8..15 and 16..23.
#define FIRST_8(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define NEXT_4(F) F(8) F(9) F(10) F(11)
#define NEXT_8(F) NEXT_4(F) F(12) F(13) F(14) F(15)
#define LAST_8(F) F(16) F(17) F(18) F(19) F(20) F(21) F(22) F(23)

// The two factors stand in the registers above the accumulators.
#define FLOAT32(N) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #N "\n\t"
#define BFLOAT16(N) "vdpbf16ps %%zmm30, %%zmm31, %%zmm" #N "\n\t"
#define INT8(N) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #N "\n\t"
#define FLOAT32_AVX2(N) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #N "\n\t"

// Writing the low quarter of a register clears the rest of it.
#define CLEAR(N) "vpxor %%xmm" #N ", %%xmm" #N ", %%xmm" #N "\n\t"
#define CLEAR_HIGH(N) "vmovdqa32 %%zmm0, %%zmm" #N "\n\t"

#define FACTORS_AVX512                     \
    "vmovd %[factor], %%xmm15\n\t"         \
    "vpbroadcastd %%xmm15, %%zmm30\n\t"    \
    "vmovdqa32 %%zmm30, %%zmm31\n\t"       \
    FIRST_8(CLEAR) NEXT_8(CLEAR) LAST_8(CLEAR_HIGH)

#define FACTORS_AVX2                       \
    "vmovd %[factor], %%xmm15\n\t"         \
    "vpbroadcastd %%xmm15, %%ymm14\n\t"    \
    "vmovdqa %%ymm14, %%ymm15\n\t"         \
    FIRST_8(CLEAR) NEXT_4(CLEAR)

// zmm16 and above are nobody's between two statements of code compiled for plain x86-64.
#define LOOP(NAME, FACTORS, BODY)                                                             \
    uint32_t NAME(uint64_t rounds, uint32_t factor) {                                         \
        uint32_t sum;                                                                         \
        asm volatile(FACTORS "1:\n\t" BODY                                                    \
                     "dec %[rounds]\n\t"                                                      \
                     "jnz 1b\n\t"                                                             \
                     "vmovd %%xmm0, %[sum]\n\t"                                               \
                     "vzeroupper\n\t"                                                         \
                     : [rounds] "+r"(rounds), [sum] "=&r"(sum)                                \
                     : [factor] "r"(factor)                                                   \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",  \
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"); \
        return sum;                                                                           \
    }

#define LOOPS_AVX512(NAME, F)                                             \
    LOOP(NAME##_8, FACTORS_AVX512, FIRST_8(F))                            \
    LOOP(NAME##_16, FACTORS_AVX512, FIRST_8(F) NEXT_8(F))                 \
    LOOP(NAME##_24, FACTORS_AVX512, FIRST_8(F) NEXT_8(F) LAST_8(F))

// Tiles 0 to 5 are accumulators, 6 and 7 the factors; the shapes and what is loaded lie in memory.
#define TILE_BFLOAT16(N) "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #N "\n\t"
#define TILE_INT8(N) "tdpbusd %%tmm7, %%tmm6, %%tmm" #N "\n\t"
#define TILE_CLEAR(N) "tilezero %%tmm" #N "\n\t"
#define FIRST_6(F) F(0) F(1) F(2) F(3) F(4) F(5)

#define LOOP_OF_TILES(NAME, F)                                                    \
    uint32_t NAME(uint64_t rounds, uint32_t factor) {                             \
        const TileShapes shapes;                                                  \
        alignas(64) uint32_t tile[256];                                           \
        std::fill(tile, tile + 256, factor);                                      \
        asm volatile("ldtilecfg %[shapes]\n\t" FIRST_6(TILE_CLEAR)                \
                     "tileloadd (%[tile], %[stride]), %%tmm6\n\t"                 \
                     "tileloadd (%[tile], %[stride]), %%tmm7\n\t"                 \
                     "1:\n\t" FIRST_6(F)                                          \
                     "dec %[rounds]\n\t"                                          \
                     "jnz 1b\n\t"                                                 \
                     "tilestored %%tmm0, (%[tile], %[stride])\n\t"                \
                     "tilerelease\n\t"                                            \
                     : [rounds] "+r"(rounds)                                      \
                     : [shapes] "m"(shapes), [tile] "r"(tile), [stride] "r"(64l)  \
                     : "cc", "memory");                                           \
        return tile[0];                                                           \
    }

namespace {

// Eight tiles of 16 rows of 64 bytes.
struct TileShapes {
    uint8_t palette = 1, start = 0, none[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

LOOP_OF_TILES(bfloat16_tiles, TILE_BFLOAT16)
LOOP_OF_TILES(int8_tiles, TILE_INT8)

// Whether there are tiles; Linux lets a process use them once it has asked.
bool has_tiles() {
    unsigned eax, ebx, ecx, edx;
    const unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25, all = bf16 | tile | int8;
    constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & all) == all &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

LOOPS_AVX512(float32, FLOAT32)
LOOPS_AVX512(bfloat16, BFLOAT16)
LOOPS_AVX512(int8, INT8)
LOOP(float32_avx2_8, FACTORS_AVX2, FIRST_8(FLOAT32_AVX2))
LOOP(float32_avx2_12, FACTORS_AVX2, FIRST_8(FLOAT32_AVX2) NEXT_4(FLOAT32_AVX2))

using Clock = std::chrono::steady_clock;

struct Loop {
    const char* dtype;
    int chains;
    int lanes;     // of an accumulator, 32 bits each; a tile has 256
    int products;  // that one instruction adds to a lane
    uint32_t (*run)(uint64_t rounds, uint32_t factor);
    bool available;

    // The number 1 in all parts of a lane.
    uint32_t factor() const {
        return of_bytes() ? 0x01010101 : products == 1 ? 0x3f800000 : 0x3f803f80;
    }

    bool of_bytes() const { return products == 4 || products == 64; }

    // Whether a thousand rounds add a thousand times `products` to a lane.
    bool counts_right() const {
        const uint32_t sum = run(1000, factor());
        const float expected = 1000.0f * products;
        if (of_bytes()) return sum == static_cast<uint32_t>(expected);
        return std::memcmp(&sum, &expected, sizeof sum) == 0;
    }

    double operations(uint64_t rounds) const { return 2.0 * chains * lanes * products * rounds; }
};

std::vector<int> cores() {
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::vector<int> found;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed)) found.push_back(core);
    return found;
}

// Seconds from the start of the first core to the end of the last.
double seconds_on_all_cores(const Loop& loop, uint64_t rounds) {
    const std::vector<int> where = cores();
    std::atomic<size_t> ready{0};
    std::vector<Clock::time_point> begin(where.size()), end(where.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < where.size(); i++)
        threads.emplace_back([&, i] {
            cpu_set_t own;
            CPU_ZERO(&own);
            CPU_SET(where[i], &own);
            sched_setaffinity(0, sizeof own, &own);
            loop.run(rounds / 10 + 1, loop.factor());  // the clock rate settles
            ready++;
            while (ready < where.size()) {
            }
            begin[i] = Clock::now();
            loop.run(rounds, loop.factor());
            end[i] = Clock::now();
        });
    for (std::thread& thread : threads) thread.join();
    const auto first = *std::min_element(begin.begin(), begin.end());
    const auto last = *std::max_element(end.begin(), end.end());
    return std::chrono::duration<double>(last - first).count();
}

// The best of several short runs: other programs can only slow it down.
double gflops(const Loop& loop) {
    const uint64_t trial = 1000000;
    const uint64_t rounds = std::max(1.0, 0.05 / seconds_on_all_cores(loop, trial)) * trial;
    double best = 0;
    for (int run = 0; run < 10; run++)
        best = std::max(best, loop.operations(rounds) / seconds_on_all_cores(loop, rounds));
    return best * cores().size() / 1e9;
}

}  // namespace

int main() {
    const bool avx512 = __builtin_cpu_supports("avx512f");
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    const bool tiles = has_tiles();
    const bool avx2 = !avx512 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const Loop loops[] = {
        {"float32", 8, 16, 1, float32_8, avx512},
        {"float32", 16, 16, 1, float32_16, avx512},
        {"float32", 24, 16, 1, float32_24, avx512},
        {"float32", 8, 8, 1, float32_avx2_8, avx2},
        {"float32", 12, 8, 1, float32_avx2_12, avx2},
        {"bfloat16", 8, 16, 2, bfloat16_8, bf16},
        {"bfloat16", 16, 16, 2, bfloat16_16, bf16},
        {"bfloat16", 24, 16, 2, bfloat16_24, bf16},
        {"int8", 8, 16, 4, int8_8, vnni},
        {"int8", 16, 16, 4, int8_16, vnni},
        {"int8", 24, 16, 4, int8_24, vnni},
        {"bfloat16", 6, 256, 32, bfloat16_tiles, tiles},
        {"int8", 6, 256, 64, int8_tiles, tiles},
    };
    std::map<std::string, std::string> parts;
    for (const Loop& loop : loops) {
        if (!loop.available) continue;
        if (!loop.counts_right()) {
            std::fprintf(stderr, "%s with %d chains adds up wrongly\n", loop.dtype, loop.chains);
            return 1;
        }
        std::string& part = parts[loop.dtype];
        part += (part.empty() ? "\"" : ", \"") + std::to_string(loop.chains) + "\": ";
        part += std::to_string(gflops(loop));
    }
    std::string all;
    for (const auto& [dtype, part] : parts)
        all += (all.empty() ? "\"" : ", \"") + dtype + "\": {" + part + "}";
    std::printf("{%s}\n", all.c_str());
}
