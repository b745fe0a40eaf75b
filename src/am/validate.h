/*-------------------------------------------------------------------------
 *
 * validate.h
 *	  Is an operator class fit for an access method of ours?
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_VALIDATE_H
#define VECDB_VALIDATE_H

/* What a support function is called with. */
typedef enum SupportKind
{
	SUPPORT_DISTANCE,			/* two values; gives float8 */
	SUPPORT_NORM,				/* one value; gives float8 */
	SUPPORT_TYPE				/* internal; gives internal */
} SupportKind;

extern bool validate_opclass(Oid opclassoid, const char *am_name,
							 const SupportKind *kinds, int nkinds);

#endif							/* VECDB_VALIDATE_H */
