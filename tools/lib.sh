# lib.sh: what the scripts in this folder share. Sourced by bash scripts.
#
# Everything that the tools make lies in build/ of the source tree: a private
# copy of the server with vecdb in it, clusters, logs, the Python environment.
# Nothing is installed into the system's server and no other cluster is touched.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$top/build
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
# Where the caller's own clients connect is no business of ours.
for name in ${!PG@}; do
	case $name in PG_CONFIG | PG_TEST_*) ;; *) unset "$name" ;; esac
done
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

# As root, carry on as an ordinary user: PostgreSQL refuses to run as root, and
# files of root's in somebody's tree would break their next run. A tree that
# belongs to a user is worked on as that user; for one of root's own (which other
# users may not even be able to read) the user postgres gets a copy.
# Call it as: drop_root "$@", before anything is made.
drop_root()
{
	[ "$(id -u)" = 0 ] || { [ -w "$top" ] || die "$top is not yours to write: clone it for yourself"; return 0; }
	local user home=$top script=$top/tools/$(basename "$0")
	user=$(stat -c %U "$top")
	if [ "$user" = root ] || [ "$user" = UNKNOWN ]; then
		user=postgres
		home=/var/tmp/vecdb-$user-$(printf %s "$top" | cksum | cut -d' ' -f1)
		install -d -m 755 -o "$user" "$home" || die "cannot make $home"
		# The copy is unpacked by its owner, so that root writes nothing there.
		tar -C "$top" --exclude=./build --exclude=./.git -cf - . |
			(cd / && run_as "$user" "$home" bash -c 'cd "$1" &&
				find . -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} + && tar -xf -' - "$home") ||
			die "cannot copy the sources to $home"
		script=$home/tools/$(basename "$0")
	fi
	cd "$home" || exit
	run_as "$user" "$home" "$script" "$@"
	exit
}

run_as()
{
	local user=$1 home=$2
	shift 2
	runuser -u "$user" -- env HOME="$home/build/home" USER="$user" LOGNAME="$user" "$@"
}

# An interrupt ends the command under way, then the script (and its EXIT trap runs).
step_pid=
trap '[ -z "$step_pid" ] || kill "$step_pid" 2>/dev/null; exit 130' INT TERM HUP

# step "what" COMMAND…: runs it with its output in $log (or a temporary file), a dot every two
# seconds, and the time at the end; with V=1 the output is shown, too. On failure the end
# of the output is shown and the status is COMMAND's.
step()
{
	local what=$1 start=$SECONDS rc=0 tick=0 log=${log:-} own=
	shift
	[ -n "$log" ] || log=$(mktemp "${TMPDIR:-/tmp}/vecdb-log.XXXXXX") own=1
	printf '%s ' "$what" >&2
	printf '\n== %s: %s\n' "$what" "$*" >>"$log"
	if [ -n "${V:-}" ]; then
		echo >&2
		"$@" </dev/null 2>&1 | tee -a "$log" >&2
		rc=${PIPESTATUS[0]}
	else
		local from
		from=$(wc -c <"$log")
		"$@" </dev/null >>"$log" 2>&1 &
		step_pid=$!
		while kill -0 "$step_pid" 2>/dev/null; do
			sleep 0.1
			tick=$((tick + 1))
			[ $((tick % 20)) = 0 ] && printf . >&2
		done
		wait "$step_pid" || rc=$?
		step_pid=
		if [ $rc != 0 ]; then
			say " FAILED ($((SECONDS - start)) s); the end of its output:"
			tail -c +$((from + 1)) "$log" | tail -n 30 | sed 's/^/    /' >&2
			say "    (all of it: $log)"
			return $rc
		fi
	fi
	[ $rc = 0 ] || { say "FAILED (status $rc)"; return $rc; }
	say " done ($((SECONDS - start)) s)"
	[ -z "$own" ] || rm -f "$log"
}

# build_server DIR [COPT]: builds vecdb with the extra compiler flags COPT in
# DIR/objects, copies the server that $PG_CONFIG belongs to into DIR/server, and
# installs vecdb there. Sets PG_CONFIG to the copy's and PATH to find its programs.
build_server()
{
	local dir=$1 copt=${2:-}
	mkdir -p "$dir/objects" || return
	PG_CONFIG=$("$top/tools/private_server" "$PG_CONFIG" "$dir/server") || return
	export PG_CONFIG
	PATH=$("$PG_CONFIG" --bindir):$PATH
	objects=(make --no-print-directory -C "$dir/objects" -f "$top/Makefile" PG_CONFIG="$PG_CONFIG" COPT_VECDB="$copt")
	step "building vecdb${copt:+ ($copt)}" "${objects[@]}" -j "$(nproc)" || return
	step "installing it into a private copy of the server" \
		"${objects[@]}" -s install install-vector
}
