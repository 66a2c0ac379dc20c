# Realmstore. `make help` lists the targets; docs/design.md explains the folders.

VERSION   := 0.1.0
PREFIX    ?= /usr/local
BUILD     ?= build
CC        ?= cc
OPT       ?= -O2 -g
SAN       ?=
PKGCONFIG ?= pkg-config

MAKEFLAGS += --no-builtin-rules
# V=1 shows the commands.
ifeq ($(V),)
Q   := @
SAY = @echo '  $(1)  $(2)';
else
Q   :=
SAY =
endif
.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:

WARN   := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
          -Wold-style-definition -Wvla -Wundef -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough \
          -Wcast-qual
WERROR ?=

# tests/lint/hardening looks at what comes out. Level 3 of FORTIFY_SOURCE is 2 where the compiler is too old for it (GCC 12 is not); it wants
# optimisation. Control-flow protection is x86's.
supports = $(shell echo 'int main(void){return 0;}' | $(CC) -Werror $(1) -x c -c -o /dev/null - 2>/dev/null && echo '$(1)')
HARDEN := -fstack-protector-strong $(call supports,-fstack-clash-protection) $(call supports,-fcf-protection) \
          $(if $(findstring -O0,$(OPT)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
CFLAGS   ?=
CPPFLAGS ?=
LDFLAGS  ?=
ALL_CFLAGS := -std=gnu11 $(OPT) $(WARN) $(WERROR) -fPIC -fvisibility=hidden \
              $(HARDEN) $(SAN) $(CFLAGS)
ALL_CPPFLAGS := -D_GNU_SOURCE -DREALMSTORE_VERSION='"$(VERSION)"' -I. -Iinclude $(CPPFLAGS)
ALL_LDFLAGS := -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(SAN) $(LDFLAGS)
# Of programs; shared libraries are position-independent anyway.
PIE_LDFLAGS := -pie

# What each folder may link to; tests/lint/dependencies checks the includes.
LIBS_store   := -llmdb -lcrypto
LIBS_sync    := -lcurl -ljansson -lzstd -luv
LIBS_agent   := $(LIBS_sync) $(LIBS_store) -lcyaml -lmicrohttpd -lsystemd -lpthread
LIBS_control := -lmicrohttpd -lgnutls -ljansson -lzstd -llmdb -lcrypto -lcyaml -lpthread
LIBS_tools   := $(LIBS_store) -ljansson

FOLDERS := base store sync agent control tools
src = $(wildcard $(1)/*.c $(1)/*/*.c $(1)/*/*/*.c)
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

# Program entry points stand apart, so that tests can link everything else.
MAINS := agent/main.c control/main.c tools/realmctl.c
parts = $(filter-out $(MAINS),$(call src,$(1)))
archive = $(BUILD)/obj/lib$(1).a

PROGRAMS := $(BUILD)/bin/realm-agent $(BUILD)/bin/realm-control $(BUILD)/bin/realmctl
SONAME   := librealmstore.so.1
LIBRARY  := $(BUILD)/lib/librealmstore.so
include store/library.mk

.PHONY: all help
all: $(PROGRAMS) $(LIBRARY) $(BUILD)/lib/librealmstore.a

help:
	@echo 'make            programs in $(BUILD)/bin, library in $(BUILD)/lib, NGINX module in $(BUILD)/nginx'
	@echo 'make demo       install what is missing, build, show the whole path on loopback'
	@echo 'make test       install what is missing, build, run every test (T=pattern: some of them)'
	@echo 'make soak       random faults under readers for SOAK_SECONDS=300, every bit and every write (SEED=n)'
	@echo 'make asan       the same tests under AddressSanitizer and UBSan'
	@echo 'make fuzz       the fuzz targets, FUZZ_SECONDS=60 each'
	@echo 'make bench      figures as ratios against their peers (N=1000000: size)'
	@echo 'make lint       warnings as errors, format, static analysis, folder rules, exports, shell'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make deps       install the Debian packages that are missing'
	@echo 'make states     print docs/states.md from the tables of the state machines'
	@echo 'make format     lay the code out with clang-format'
	@echo 'make clean'

# ---- compiling ----

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# Rebuild all when the flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)' | sed "s/'//g" | cmp -s - $@ || \
	  echo '$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS)' | sed "s/'//g" > $@
FORCE:
.PHONY: FORCE

define archive_rule
$(call archive,$(1)): $(call obj,$(call parts,$(1)))
	@rm -f $$@
	$(Q)ar qcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive_rule,$(f))))

archives = $(foreach f,$(1),$(call archive,$(f)))

$(BUILD)/bin/realm-agent: $(BUILD)/obj/agent/main.o $(call archives,agent sync store base)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(PIE_LDFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_agent)

# Of sync/ only the codecs, of store/ only the record format: the linker takes what is used, and
# tests/lint/dependencies holds the includes to it.
$(BUILD)/bin/realm-control: $(BUILD)/obj/control/main.o $(call archives,control sync store base)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(PIE_LDFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_control)

$(BUILD)/bin/realmctl: $(BUILD)/obj/tools/realmctl.o $(call archives,tools store base)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) $(PIE_LDFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS_tools)

# ---- the library (store/library.mk names its sources) ----

LIBRARY_OBJ := $(call obj,$(LIBRARY_SRC))

$(BUILD)/lib/$(SONAME): $(LIBRARY_OBJ) store/librealmstore.map
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=store/librealmstore.map -Wl,-z,defs \
	  $(ALL_LDFLAGS) -o $@ $(LIBRARY_OBJ) $(LIBS_store) -lpthread

$(LIBRARY): $(BUILD)/lib/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

$(BUILD)/lib/librealmstore.a: $(LIBRARY_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcs $@ $^

include gateway/nginx/module.mk
include tests/tests.mk
include bench/bench.mk
include packaging/install.mk

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: clean
clean:
	rm -rf build
