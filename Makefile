# vecdb: vector search inside PostgreSQL pages. A PGXS build: make, make install,
# make installcheck, with PG_CONFIG= to choose the server. `make demo` and
# `make test` do everything a fresh machine needs (see README.md).

EXTENSION = vecdb
EXTVERSION = 0.1.0
MODULE_big = vecdb
PGFILEDESC = "vecdb - vector search inside PostgreSQL"

# Where this Makefile is, so that a build in another folder finds the sources.
srcdir ?= $(patsubst %/,%,$(dir $(realpath $(firstword $(MAKEFILE_LIST)))))
in_src = $(patsubst $(srcdir)/%,%,$(wildcard $(addprefix $(srcdir)/,$(1))))

# Every .c under src/ belongs to the library; tests are found the same way, so
# a script that lies in a test folder cannot be forgotten.
OBJS = $(patsubst %.c,%.o,$(sort $(call in_src,src/*.c src/*/*.c)))
DATA = $(call in_src,install/*.sql)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(call in_src,sql/*.sql)))
REGRESS_OPTS = --inputdir=$(srcdir) --load-extension=vecdb
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(call in_src,test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation --load-extension=vecdb
TAP_TESTS = 1
PROVE_TESTS = $(sort $(call in_src,test/t/*.pl))

# -ffp-contract=off: a distance is the same to the last bit at every SIMD level
# (src/kernel/README.md); a contraction chosen by the compiler would break that.
ROOM_CPPFLAGS = -I$(srcdir)/src -DVECDB_VERSION='"$(EXTVERSION)"'
ROOM_CFLAGS = -ffp-contract=off -fvisibility=hidden
WARN_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CPPFLAGS = $(ROOM_CPPFLAGS)
PG_CFLAGS = $(ROOM_CFLAGS) $(WARN_CFLAGS) $(COPT_VECDB)
SHLIB_LINK += -lm

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The JIT bitcode is compiled from the same sources with the same meaning.
BITCODE_CFLAGS += $(ROOM_CFLAGS)
