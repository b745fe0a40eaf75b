/*-------------------------------------------------------------------------
 *
 * shm.h
 *	  Is there room for a parallel build's shared memory?
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECDB_SHM_H
#define VECDB_SHM_H

extern bool shm_has_room(Size bytes);

#endif							/* VECDB_SHM_H */
