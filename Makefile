# vecdb: vector search inside PostgreSQL pages. A PGXS build: make, make install,
# make installcheck, with PG_CONFIG= to choose the server. `make demo` and
# `make test` do everything a fresh machine needs (see README.md).

# Commands that need nothing installed yet; what they do is told in tools/.
TOOL_GOALS = test demo demo-psql demo-clean check-tools bench-smoke
.PHONY: $(TOOL_GOALS)
ifneq ($(filter $(TOOL_GOALS),$(MAKECMDGOALS)),)

test:        ; @tools/test
demo:        ; @tools/demo
demo-psql:   ; @tools/demo psql
demo-clean:  ; @tools/demo clean
check-tools: ; @tools/check
bench-smoke: ; @tools/test bench

else

EXTENSION = vecdb
EXTVERSION = 0.1.0
MODULE_big = vecdb
PGFILEDESC = "vecdb - vector search inside PostgreSQL"

# Where this Makefile is, so that a build in another folder finds the sources.
topdir := $(patsubst %/,%,$(dir $(realpath $(firstword $(MAKEFILE_LIST)))))
in_top = $(sort $(patsubst $(topdir)/%,%,$(wildcard $(addprefix $(topdir)/,$(1)))))

# Every .c under src/ belongs to the library; tests are found the same way, so
# a script that lies in a test folder cannot be forgotten.
OBJS := $(patsubst %.c,%.o,$(call in_top,src/*.c src/*/*.c))
DATA := $(call in_top,install/*.sql)

REGRESS := $(patsubst sql/%.sql,%,$(call in_top,sql/*.sql))
REGRESS_OPTS = --inputdir=$(topdir) --load-extension=vecdb
ISOLATION := $(patsubst test/isolation/specs/%.spec,%,$(call in_top,test/isolation/specs/*.spec))
ISOLATION_OPTS = --inputdir=$(topdir)/test/isolation --load-extension=vecdb
TAP_TESTS = 1
PROVE_TESTS := $(call in_top,test/t/*.pl)

# -ffp-contract=off: a distance is the same to the last bit at every SIMD level
# (src/kernel/README.md); a contraction chosen by the compiler would break that.
# -MMD: headers count as prerequisites on servers built without --enable-depend, too.
ROOM_CFLAGS = -ffp-contract=off -fvisibility=hidden
WARN_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CPPFLAGS = -I$(topdir)/src -DVECDB_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = $(ROOM_CFLAGS) $(WARN_CFLAGS) -MMD -MP $(COPT_VECDB)
SHLIB_LINK += -lm
EXTRA_CLEAN = $(OBJS:.o=.d) test_unit

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(wildcard $(PGXS)),)
$(error No PostgreSQL build files found through "$(PG_CONFIG)": install postgresql-server-dev-NN or say PG_CONFIG=/path/to/pg_config)
endif

# JIT bitcode needs the clang that the server was built with. Where it is not
# installed the bitcode is left out: only inlining into JIT code is lost.
SERVER_CLANG := $(shell sed -n 's/^CLANG *= *//p' $(dir $(PGXS))../Makefile.global)
ifeq ($(shell command -v $(or $(SERVER_CLANG),no-clang)),)
override with_llvm = no
endif

include $(PGXS)

# The JIT bitcode is compiled from the same sources with the same meaning, again
# whenever its object is.
BITCODE_CFLAGS += $(ROOM_CFLAGS)
$(OBJS:.o=.bc): %.bc: %.o

# A build in another folder (make -f .../Makefile) takes sources from here, but
# never the objects of a build in the source tree.
VPATH =
vpath %.c $(topdir)
vpath %.control $(topdir)
$(shell mkdir -p $(sort $(dir $(OBJS))))
-include $(OBJS:.o=.d)

# Unit tests of the rooms that know nothing of PostgreSQL: each program is linked
# with the very objects that go into the library, and prints TAP.
UNIT_TESTS := $(patsubst test/unit/%.c,test_unit/%,$(call in_top,test/unit/test_*.c))
UNIT_OBJS := $(filter src/kernel/% src/quant/% src/graph/% src/types/vector_parse.o,$(OBJS))
.PHONY: unit
unit: $(UNIT_TESTS)
test_unit/%: test/unit/%.c $(topdir)/test/unit/tap.h $(UNIT_OBJS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CPPFLAGS) $< $(UNIT_OBJS) -o $@ $(LDFLAGS) -lm -lpthread

# Times of src/kernel and of codes, level by level (about two minutes).
.PHONY: bench-kernel
bench-kernel: bench/kernel_bench.c $(filter src/kernel/% src/quant/r% src/quant/fastscan.o,$(OBJS))
	@mkdir -p test_unit
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %/kernel_bench.c,$^) $(filter %.o,$^) -o test_unit/kernel_bench $(LDFLAGS) -lm
	test_unit/kernel_bench

# The program that times src/quant alone; bench/kmeans_faiss.py runs it beside FAISS.
.PHONY: bench-kmeans
bench-kmeans: bench/kmeans_bench.c $(filter src/kernel/% src/quant/%,$(OBJS))
	@mkdir -p test_unit
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %/kmeans_bench.c,$^) $(filter %.o,$^) -o test_unit/kmeans_bench $(LDFLAGS) -lm -lpthread
	test_unit/kmeans_bench

# The program that times product and scalar quantisation alone; bench/codecs_faiss.py runs it beside FAISS.
.PHONY: bench-codecs
bench-codecs: bench/codec_bench.c $(filter src/kernel/% src/quant/%,$(OBJS))
	@mkdir -p test_unit
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %/codec_bench.c,$^) $(filter %.o,$^) -o test_unit/codec_bench $(LDFLAGS) -lm

# The program that times searches over blocks of codes alone; bench/fastscan_faiss.py runs it beside FAISS.
.PHONY: bench-fastscan
bench-fastscan: bench/fastscan_bench.c $(filter src/kernel/% src/quant/%,$(OBJS))
	@mkdir -p test_unit
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %/fastscan_bench.c,$^) $(filter %.o,$^) -o test_unit/fastscan_bench $(LDFLAGS) -lm

# The program that times a graph build in memory, and judges the graph.
.PHONY: bench-graph-build
bench-graph-build: bench/graph_build_bench.c $(filter src/kernel/% src/graph/%,$(OBJS))
	@mkdir -p test_unit
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %/graph_build_bench.c,$^) $(filter %.o,$^) -o test_unit/graph_build_bench $(LDFLAGS) -lm -lpthread
	test_unit/graph_build_bench

# The search of src/graph over nodes in memory: make bench-graph ARGS="-u ROWS.npy QUERIES.npy".
.PHONY: bench-graph
bench-graph: bench/graph_bench.c $(filter src/kernel/% src/quant/% src/graph/%,$(OBJS))
	@mkdir -p test_unit
	$(CC) $(CFLAGS) $(CPPFLAGS) $(filter %/graph_bench.c,$^) $(filter %.o,$^) -o test_unit/graph_bench $(LDFLAGS) -lm -lpthread
	test_unit/graph_bench $(ARGS)

# The optional control file `vector`, for clients that send CREATE EXTENSION
# vector. Never beside pgvector's own files: they carry the same names.
.PHONY: install-vector uninstall-vector
install-vector:
	@if grep -q "^requires *= *'vecdb'" '$(DESTDIR)$(datadir)/extension/vector.control' 2>/dev/null; then :; \
	elif test -e '$(DESTDIR)$(datadir)/extension/vector.control' || test -e '$(DESTDIR)$(pkglibdir)/vector$(DLSUFFIX)'; then \
		echo "install-vector: pgvector is installed in this server (vector.control in $(DESTDIR)$(datadir)/extension or" >&2; \
		echo "vector$(DLSUFFIX) in $(DESTDIR)$(pkglibdir)), and its extension has the same name." >&2; \
		echo "Nothing was changed. Remove pgvector from this server first (on Debian: the package" >&2; \
		echo "postgresql-NN-pgvector), or do without: CREATE EXTENSION vecdb needs no control file vector." >&2; \
		exit 1; fi
	$(MKDIR_P) '$(DESTDIR)$(datadir)/extension'
	$(INSTALL_DATA) $(topdir)/install/vector/vector.control $(topdir)/install/vector/vector--0.8.6.sql '$(DESTDIR)$(datadir)/extension/'
uninstall-vector:
	@if grep -q "^requires *= *'vecdb'" '$(DESTDIR)$(datadir)/extension/vector.control' 2>/dev/null; then \
		rm -fv '$(DESTDIR)$(datadir)/extension/vector.control' '$(DESTDIR)$(datadir)/extension/vector--0.8.6.sql'; \
	else echo "uninstall-vector: vecdb's control file vector is not installed, nothing to do"; fi

endif
