/*-------------------------------------------------------------------------
 *
 * shm.c
 *	  Is there room for a parallel build's shared memory?
 *
 * dsm_create() raises an error when /dev/shm is full, and containers often
 * give it 64 MB.  So a build looks first, and without room goes on alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "storage/dsm_impl.h"

#include "am/shm.h"

/* Would a segment of that size leave a tenth of the space to others? */
bool
shm_has_room(Size bytes)
{
#ifdef USE_DSM_POSIX
	struct statvfs fs;

	if (dynamic_shared_memory_type == DSM_IMPL_POSIX &&
		statvfs("/dev/shm", &fs) == 0)
	{
		uint64		total = (uint64) fs.f_blocks * fs.f_frsize;
		uint64		available = (uint64) fs.f_bavail * fs.f_frsize;

		return available > total / 10 && bytes <= available - total / 10;
	}
#endif
	return true;
}
