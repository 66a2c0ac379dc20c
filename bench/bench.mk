# Benchmarks: bench/*.c are programs, bench/run starts what they need and prints the figures.

BENCH_BIN := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))
N ?= 1000000

BENCH_LIB := $(call obj,$(wildcard bench/lib/*.c))

$(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(BENCH_LIB) $(BUILD)/obj/libtestlib.a $(call archives,control sync store base)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_store) $(LIBS_sync) -lpthread

$(BUILD)/bench/peers: LIBS_store += -lhiredis -lsqlite3 -lrocksdb -lcdb
$(BUILD)/bench/writes: LIBS_store += -lsqlite3

.PHONY: bench bench-programs
bench-programs: $(BENCH_BIN)
bench:
	@packaging/deps.sh bench
	@$(MAKE) --no-print-directory -j$(TEST_JOBS) all unit-tests bench-programs
	@bench/run $(BUILD) $(N)
