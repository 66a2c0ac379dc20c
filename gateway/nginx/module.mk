# The NGINX module, for the NGINX whose source tree is at NGINX_SRC: Debian's, of the package nginx-dev. The tree's
# configure writes the headers of that build (and so the signature that NGINX compares when it loads a module); the
# compiling is ours, with this project's flags. Any other NGINX takes gateway/nginx by its own configure.

NGINX_SRC ?= /usr/share/nginx/src
NGINX_OBJ := $(CURDIR)/build/nginx-obj
NGINX_MODULE := $(BUILD)/nginx/ngx_http_realm_auth_module.so
NGINX_MODULE_SRC := $(wildcard gateway/nginx/*.c)
NGINX_MODULE_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(NGINX_MODULE_SRC))
# What all gateways decide alike; knows nothing of NGINX. Of base/ the grammar of text.
GATEWAY_BASE_SRC := base/grammar.c base/utf8.c
GATEWAY_CORE_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard gateway/core/*.c))
GATEWAY_BASE_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(GATEWAY_BASE_SRC))

NGINX_CPPFLAGS := $(addprefix -isystem $(NGINX_SRC)/,src/core src/event src/event/modules src/os/unix src/http \
                    src/http/modules src/http/v2) -isystem $(NGINX_OBJ)
NGINX_CONFIGURED := $(NGINX_OBJ)/configured

# Made again when another NGINX stands at NGINX_SRC.
$(NGINX_OBJ)/version: FORCE
	@mkdir -p $(@D)
	@cat $(NGINX_SRC)/src/core/nginx.h $(NGINX_SRC)/conf_flags | cmp -s - $@ || \
	  cat $(NGINX_SRC)/src/core/nginx.h $(NGINX_SRC)/conf_flags > $@

$(NGINX_CONFIGURED): $(NGINX_OBJ)/version gateway/nginx/config
	$(call SAY,CONF,$(NGINX_SRC))
	$(Q)cd $(NGINX_SRC) && bash -c '. ./conf_flags && ./configure "$${NGX_CONF_FLAGS[@]}" \
	  --add-dynamic-module=$(CURDIR)/gateway/nginx --builddir=$(NGINX_OBJ)' > $(NGINX_OBJ)/configure.log 2>&1 || \
	  { tail -n 20 $(NGINX_OBJ)/configure.log >&2; exit 1; }
	@touch $@

# ngx_string() casts const away, which clang minds.
$(NGINX_MODULE_OBJ): $(BUILD)/obj/%.o: %.c $(NGINX_CONFIGURED) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SAY,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(NGINX_CPPFLAGS) $(ALL_CFLAGS) -Wno-cast-qual -MMD -MP -c $< -o $@

# The three tables by which NGINX knows a dynamic module; the only symbols that it exports.
NGINX_TABLES := $(BUILD)/obj/gateway/nginx/modules.o
$(NGINX_TABLES): $(NGINX_CONFIGURED) $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(NGINX_CPPFLAGS) -O2 -g -fPIC $(HARDEN) $(SAN) -c $(NGINX_OBJ)/ngx_http_realm_auth_module_modules.c -o $@

# Finds librealmstore beside itself in the build directory, and from lib/nginx/modules in lib.
$(NGINX_MODULE): $(NGINX_MODULE_OBJ) $(GATEWAY_CORE_OBJ) $(GATEWAY_BASE_OBJ) $(NGINX_TABLES) $(LIBRARY)
	@mkdir -p $(@D)
	$(call SAY,LD,$@)
	$(Q)$(CC) -shared $(ALL_LDFLAGS) -Wl,-rpath,'$$ORIGIN/../lib:$$ORIGIN/../..' -o $@ \
	  $(NGINX_MODULE_OBJ) $(GATEWAY_CORE_OBJ) $(GATEWAY_BASE_OBJ) $(NGINX_TABLES) -L$(BUILD)/lib -lrealmstore -ljansson

.PHONY: nginx-module
nginx-module: $(NGINX_MODULE)
# Without NGINX's headers everything else is still built.
ifneq ($(wildcard $(NGINX_SRC)/conf_flags),)
all: nginx-module
else
all: no-nginx-module
.PHONY: no-nginx-module
no-nginx-module:
	@echo '  no $(NGINX_SRC): the NGINX module is not built; make deps installs nginx-dev'
endif
