# gatherd: one entry for everything.
#
#   make                      build/gatherd
#   make demo [PORT=8080]     set up, start databases of its own, load real data, run the atlas example
#   make check [T=name]       set up, then every test, in the plain and in the sanitized build
#   make bench                compare with an aiohttp service that does the same
#   make lint                 the format and lint gates
#   make install [DESTDIR=] [PREFIX=/usr/local]; make uninstall with the same takes it away
#   make clean                                  build/ goes, but for the MongoDB server of the demo and the tests; make distclean: all of it
#   make SANITIZE=address,undefined [TARGET]    the same in a build folder of its own

comma    := ,
SANITIZE ?=
B        := build$(if $(SANITIZE),/$(subst $(comma),-,$(SANITIZE)))
PREFIX   ?= /usr/local
VERSION  := 0.1.0

ROOMS    := base async config drivers handlers daemon
SOURCES  := $(sort $(shell find $(ROOMS) -name '*.c'))
OBJECTS  := $(SOURCES:%.c=$B/obj/%.o)
LIBRARY  := $(filter-out $B/obj/daemon/main.o,$(OBJECTS))
UNITS    := $(sort $(shell find tests/unit -name 'test_*.c'))
# Under ThreadSanitizer: what threads share, which is the task core; the rest belongs to one worker each.
ifeq ($(SANITIZE),thread)
LIBRARY  := $(filter $B/obj/base/% $B/obj/async/% $B/obj/drivers/budget.o,$(OBJECTS))
UNITS    := $(filter tests/unit/async/% tests/unit/base/test_log.c tests/unit/drivers/test_budget.c,$(UNITS))
endif
UNIT_BIN := $(addprefix $B/tests/,$(notdir $(UNITS:.c=)))

PACKAGES := libh2o-evloop libpq libmongoc-1.0 libcurl yaml-0.1 libpcre2-8 openssl zlib libdw
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES)))$(PKG_CFLAGS)
# jemalloc: a fifth less CPU than glibc's malloc for what libpq allocates; the sanitizers bring their own.
PKG_LIBS   = $(shell pkg-config --libs $(PACKAGES)) -lboost_context -lm $(if $(SANITIZE),,-Wl,--no-as-needed -ljemalloc)

# CPPFLAGS, CFLAGS and LDFLAGS are the user's, from the environment or the command line: they come after ours and win.
CC       ?= cc
OPTIMIZE ?= $(if $(SANITIZE),-O1,-O2)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wvla -Wformat=2 $(if $(CI)$(WERROR),-Werror)
# The C library wants an optimizing compiler for it, the sanitizers do without; whoever names it has the last word.
FORTIFY  := $(if $(SANITIZE)$(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS))$(filter -O0,$(lastword $(filter -O%,$(OPTIMIZE) $(CFLAGS)))),, \
            -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDEN   := -fstack-protector-strong -fstack-clash-protection $(FORTIFY) -fno-common
OUR_CPPFLAGS := -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -DGATHERD_VERSION='"$(VERSION)"'
OUR_CFLAGS   := -std=gnu17 $(OPTIMIZE) -g -fno-omit-frame-pointer -pthread $(WARNINGS) $(HARDEN) \
                $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
# What modules may call, and nothing else.
EXPORT   := -Wl,--export-dynamic-symbol='gd_*'
OUR_LDFLAGS  := -pthread -Wl,-z,relro,-z,now $(if $(SANITIZE),-fsanitize=$(SANITIZE))
COMPILE  = $(CC) $(OUR_CPPFLAGS) $(PKG_CFLAGS:-I%=-isystem %) $(OUR_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LINK     = $(CC) $(OUR_LDFLAGS) $(CFLAGS) $(LDFLAGS)

.PHONY: all show-flags demo check check-unit check-e2e units bench lint format install uninstall clean distclean setup
.DELETE_ON_ERROR:
.SECONDARY:

all: $B/gatherd

$B/gatherd: $(OBJECTS)
	@echo "  LD  $@"
	@$(LINK) $(EXPORT) -o $@ $^ $(PKG_LIBS)

$B/obj/%.o: %.c $B/flags
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(COMPILE) -MMD -MP -c -o $@ $<

# The assembler puts the status page's files into it.
$B/obj/handlers/admin/status_page.o: $(wildcard handlers/admin/status/*)

$B/libgatherd.a: $(LIBRARY)
	@rm -f $@
	@ar rcs $@ $^

# A unit test's program is named after its source, whatever room that is in; it has the fixtures of that room.
fixtures_of = $(filter-out $(dir $1)test_%,$(wildcard $(dir $1)*.c))
$(foreach unit,$(UNITS),$(eval $B/tests/$(notdir $(unit:.c=)): $(patsubst %.c,$B/obj/%.o,$(unit) $(call fixtures_of,$(unit)))))
$(UNIT_BIN): $B/obj/tests/unit/patience.o $B/libgatherd.a
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(LINK) -o $@ $(filter %.o,$^) $B/libgatherd.a $(PKG_LIBS) $(shell pkg-config --libs check)

$B/bench/tasks: $B/obj/bench/tasks.o $B/libgatherd.a
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(LINK) -o $@ $< $B/libgatherd.a $(PKG_LIBS)

# A change of the flags rebuilds; -Werror alone does not.
FLAGS_NOW := $(filter-out -Werror,$(CC) $(OUR_CPPFLAGS) $(OUR_CFLAGS) $(OUR_LDFLAGS) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS))
$B/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' >$@
.PHONY: FORCE
FORCE:

units: $(UNIT_BIN)

# For scripts/lint: how a file is compiled.
show-flags:
	$(info $(subst ',,$(filter-out -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2,$(wordlist 2,999,$(COMPILE)))))@:

setup:
	@scripts/setup

demo:
	@scripts/demo

check: setup
	@scripts/check $(T)

bench: setup
	@bench/run

lint:
	@scripts/setup build lint
	@scripts/lint

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

# What is installed, a word each: mode:file:its place below PREFIX. The pages stand there as they do here, so that their links hold.
PAGES     := README.md CONTRIBUTING.md LICENSE packages.txt include/gatherd.h $(wildcard docs/*.md docs/deploy/* examples/*.yaml examples/*/Makefile) \
             $(foreach kind,md yaml sql py c,$(wildcard examples/*/*.$(kind)))
INSTALLED := 0755:$B/gatherd:bin/gatherd \
             $(foreach unit,gatherd.service gatherd@.service gatherd.socket,0644:systemd/$(unit):lib/systemd/system/$(unit)) \
             0644:systemd/sysusers.conf:lib/sysusers.d/gatherd.conf \
             0644:systemd/tmpfiles.conf:lib/tmpfiles.d/gatherd.conf \
             0644:include/gatherd.h:include/gatherd.h \
             0644:include/gatherd.pc.in:lib/pkgconfig/gatherd.pc \
             $(foreach file,low-ports.conf allow-list.conf,0644:systemd/$(file):share/doc/gatherd/$(file)) \
             $(foreach page,$(PAGES),0644:$(page):share/doc/gatherd/$(page))
word_of    = $(word $1,$(subst :, ,$2))
PLACES     = $(foreach item,$(INSTALLED),$(call word_of,3,$(item)))
ROOT       = $(DESTDIR)$(PREFIX)

install: $B/gatherd
	@set -e; $(foreach item,$(INSTALLED),install -D -m $(call word_of,1,$(item)) $(call word_of,2,$(item)) "$(ROOT)/$(call word_of,3,$(item))";)
	@sed -i 's|@PREFIX@|$(PREFIX)|g; s|@VERSION@|$(VERSION)|' "$(ROOT)/lib/pkgconfig/gatherd.pc" "$(ROOT)"/lib/systemd/system/gatherd*.service
	@echo "installed below $(ROOT)"

# What `install` brings, then the folders that are empty without it; the system's own `bin`, `lib` and so on stay.
uninstall:
	@rm -f $(PLACES:%="$(ROOT)/%")
	@cd "$(or $(DESTDIR),$(PREFIX))" 2>/dev/null || exit 0; \
	for folder in $(sort $(patsubst %/,$(if $(DESTDIR),$(PREFIX:/%=%)/)%,$(dir $(PLACES)))); do \
		while $(if $(filter /usr /usr/local,$(ROOT)),[ "$${folder%/*}" != "$$folder" ] &&) rmdir "$$folder" 2>/dev/null; do \
			folder=$$(dirname "$$folder"); \
		done; \
	done

# build/tools, what the tests fetch and build for themselves, takes minutes: it stays.
clean:
	@[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name tools -exec rm -rf {} +

distclean:
	rm -rf build

-include $(OBJECTS:.o=.d) $(patsubst %.c,$B/obj/%.d,$(UNITS) $(foreach unit,$(UNITS),$(call fixtures_of,$(unit))))
