/*-------------------------------------------------------------------------
 *
 * simd.c
 *	  Which instruction set the kernels use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "kernel/kernel.h"

VECDB_FUNCTION(vecdb_simd);

Datum
vecdb_simd(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(kernel->name));
}
