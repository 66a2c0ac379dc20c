# Tests: tests/unit/FOLDER/test_*.c are cmocka programs, one folder for each of the source, tests/e2e/*.bats drive the real programs.

UNIT_SRC  := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN  := $(patsubst %.c,$(BUILD)/tests/%,$(notdir $(UNIT_SRC)))
TESTLIB_SRC := $(wildcard tests/lib/*.c)
HELPER_SRC := $(wildcard tests/helpers/*.c)
HELPER_BIN := $(patsubst tests/helpers/%.c,$(BUILD)/tests/%,$(HELPER_SRC))
TEST_LIBS := $(LIBS_agent) $(LIBS_control) -lcmocka -lm

$(BUILD)/obj/libtestlib.a: $(call obj,$(TESTLIB_SRC))
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcs $@ $^

# Each test and helper program links whatever it uses of the project.
define unit_rule
$(BUILD)/tests/$(basename $(notdir $(1))): $(BUILD)/obj/$(1:.c=.o) $(BUILD)/obj/libtestlib.a $(call archives,agent control tools sync store base)
	@mkdir -p $$(@D)
	$$(call SAY,LD,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $$(TEST_LIBS)
endef
$(foreach source,$(UNIT_SRC),$(eval $(call unit_rule,$(source))))

$(BUILD)/tests/%: $(BUILD)/obj/tests/helpers/%.o $(BUILD)/obj/libtestlib.a $(call archives,agent control tools sync store base)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

$(BUILD)/tests/test_gateway_core: $(GATEWAY_CORE_OBJ) $(GATEWAY_BASE_OBJ)

# These watch their own system calls and LMDB's.
$(BUILD)/tests/test_power_loss $(BUILD)/tests/test_repo_power $(BUILD)/tests/test_agent_kill $(BUILD)/tests/test_soak: $(BUILD)/obj/tests/interpose/write_log.o

# For LD_PRELOAD: faults in a real program.
PRELOAD_LIB := $(BUILD)/tests/bad_head.so
$(PRELOAD_LIB): $(BUILD)/tests/%.so: tests/interpose/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(filter-out -fsanitize% -fno-sanitize%,$(ALL_CFLAGS)) -shared -o $@ $<

# This one stands in front of the repository, to hold a transaction where it likes.
$(BUILD)/tests/test_feed_queue: ALL_LDFLAGS += -Wl,--wrap=repo_transaction

.PHONY: unit-tests
unit-tests: $(UNIT_BIN) $(HELPER_BIN) $(PRELOAD_LIB)

TEST_JOBS ?= 3
T ?=
ASAN_BUILD := build/asan
TSAN_BUILD := build/tsan
ASAN_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

.PHONY: deps test soak run-tests asan tsan lint format
deps:
	@packaging/deps.sh all

test:
	@packaging/deps.sh test
	@$(MAKE) --no-print-directory -j$(TEST_JOBS) all unit-tests
	@$(FUZZ_MAKE)
	@TEST_JOBS=$(TEST_JOBS) tests/run $(BUILD) '$(T)'

# docs/states.md, printed from the state machines' own tables; a test compares the two.
.PHONY: states
states: $(BUILD)/tests/print_states
	$(BUILD)/tests/print_states > docs/states.md

# What `make test` takes samples of: lives of a store with random faults under readers, for SOAK_SECONDS; every bit that
# may flip; every write at which power or the process may be lost.
soak: $(BUILD)/tests/test_soak $(BUILD)/tests/test_damage $(BUILD)/tests/test_rot $(BUILD)/tests/test_power_loss $(BUILD)/tests/test_repo_power
	REALMSTORE_SOAK=1 $(BUILD)/tests/test_soak
	REALMSTORE_SOAK=1 $(BUILD)/tests/test_damage
	REALMSTORE_SOAK=1 $(BUILD)/tests/test_rot
	REALMSTORE_SOAK=1 $(BUILD)/tests/test_power_loss
	REALMSTORE_SOAK=1 $(BUILD)/tests/test_repo_power

# The sanitizers' own allocator and maps need address space that RLIMIT_AS tests cannot give.
asan:
	@packaging/deps.sh test
	@$(MAKE) --no-print-directory -j$(TEST_JOBS) BUILD=$(ASAN_BUILD) OPT='-O1 -g' SAN='$(ASAN_SAN)' all unit-tests
	@REALMSTORE_SANITIZED=1 UBSAN_OPTIONS=print_stacktrace=1 TEST_JOBS=$(TEST_JOBS) tests/run $(ASAN_BUILD) '$(T)'

tsan:
	@packaging/deps.sh test
	@$(MAKE) --no-print-directory -j$(TEST_JOBS) BUILD=$(TSAN_BUILD) OPT='-O1 -g' SAN=-fsanitize=thread all unit-tests
	@REALMSTORE_SANITIZED=1 TSAN_OPTIONS=die_after_fork=0 TEST_JOBS=$(TEST_JOBS) tests/run $(TSAN_BUILD) '$(if $(T),$(T),test_)'

# ---- lint ----

C_FILES := $(wildcard base/*.[ch] store/*.[ch] sync/*.[ch] agent/*.[ch] control/*.[ch] control/*/*.[ch] control/*/*/*.[ch] tools/*.[ch] \
             gateway/*/*.[ch] \
             include/*.h docs/examples/*.c bench/*.[ch] bench/lib/*.[ch] tests/unit/*/*.[ch] tests/lib/*.[ch] tests/interpose/*.[ch] tests/helpers/*.[ch] tests/fuzz/*.[ch])

lint:
	@packaging/deps.sh lint
	@$(MAKE) --no-print-directory -j$(TEST_JOBS) BUILD=build/lint WERROR=-Werror all unit-tests bench-programs
	@NGINX_CPPFLAGS='$(NGINX_CPPFLAGS)' tests/lint/run build/lint

format:
	clang-format -i $(C_FILES)

.PHONY: demo
demo:
	@packaging/deps.sh demo
	@$(MAKE) --no-print-directory -j$(TEST_JOBS) all
	@packaging/demo.sh $(BUILD)

# ---- fuzzing: clang's libFuzzer; a slice of it belongs to the tests ----

FUZZ_SECONDS ?= 60
FUZZ_BUILD := build/fuzz
FUZZ_MAKE = $(MAKE) --no-print-directory -j$(TEST_JOBS) BUILD=$(FUZZ_BUILD) CC=clang OPT='-O1 -g' \
  SAN='-fsanitize=address,undefined -fno-sanitize-recover=undefined' \
  CFLAGS='-fsanitize=fuzzer-no-link -Wno-format-nonliteral' fuzz-programs
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))

$(BUILD)/tests/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(call archives,agent control tools sync store base)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_agent) $(LIBS_control)

# The NGINX module's parsers, which need NGINX's headers and no NGINX.
$(BUILD)/tests/fuzz_gateway: $(patsubst %,$(BUILD)/obj/gateway/nginx/realm_auth_%.o,args json answer consumer) $(GATEWAY_CORE_OBJ) $(GATEWAY_BASE_OBJ)
$(BUILD)/obj/tests/fuzz/fuzz_gateway.o: $(NGINX_CONFIGURED)
$(BUILD)/obj/tests/fuzz/fuzz_gateway.o: ALL_CPPFLAGS += $(NGINX_CPPFLAGS)
$(BUILD)/obj/tests/fuzz/fuzz_gateway.o: ALL_CFLAGS += -Wno-cast-qual

.PHONY: fuzz fuzz-programs
fuzz-programs: $(FUZZ_BIN)
fuzz:
	@packaging/deps.sh test
	@$(FUZZ_MAKE)
	@tests/fuzz/run $(FUZZ_BUILD) $(FUZZ_SECONDS)
