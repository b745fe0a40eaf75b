/*-------------------------------------------------------------------------
 *
 * vecdb.c
 *	  Module magic and initialisation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "am/options.h"
#include "compat.h"
#include "guc.h"
#include "kernel/kernel.h"
#include "vecdb.h"

#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "vecdb",.version = VECDB_VERSION);
#else
PG_MODULE_MAGIC;
#endif

void
_PG_init(void)
{
	kernel_init();
	guc_init();
	options_init();
}
