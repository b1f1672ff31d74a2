/* GridFS: files of any size, kept as documents: one in BUCKET.files, and its bytes in BUCKET.chunks.
 *
 * The chunks of an upload are stored before its document is: a file that is there is whole. Each chunk is an operation
 * of its own, as those of writes.h; nothing keeps a connection. A download is a cursor over the chunks (cursor.h) whose
 * order and lengths are verified. Loop thread only. */
#pragma once

#include "drivers/mongo/calls/cursor.h"

enum { GRIDFS_CHUNK_BYTES = 255 * 1024 }; /* what every driver takes */

struct mongo_gridfs_upload {
	struct client *client;
	struct run_options options;
	char *files, *chunks; /* the collections */
	struct value id;      /* an ObjectId, in id_text */
	char id_text[25];
	const char *filename;
	const struct value *metadata;
	struct buf chunk; /* what is not stored yet */
	int64_t stored;   /* chunks that were sent */
	int64_t length;
	bool sent; /* there may be something of it on the server */
};

/* Suspends. Begin a file; its collections get their indexes where they have no file yet. bucket may be NULL: "fs".
 * filename and metadata (NULL: none) must live as long as u does. Returns 0: u is to be done; or -errno with e filled.
 */
int mongo_gridfs_create(struct mongo_gridfs_upload *u, const struct mongo_target *t, const char *bucket,
			const char *filename, const struct value *metadata, struct error *e) must_check;
/* Suspends if a chunk is full. Returns 0, or -errno with e filled. */
int mongo_gridfs_write(struct mongo_gridfs_upload *u, const void *p, size_t len, struct error *e) must_check;
/* Suspends. Store the rest, and the file. Returns 0 and *out, {_id, length}, which the caller frees; or -errno with e
 * filled. */
int mongo_gridfs_finish(struct mongo_gridfs_upload *u, struct result **out, struct error *e) must_check;
/* Suspends (shielded) for a few seconds at most: what was stored of a file that was not finished is removed. */
void mongo_gridfs_upload_done(struct mongo_gridfs_upload *u);

struct mongo_gridfs_download {
	struct mongo_cursor cursor;
	int64_t length, chunk_bytes;
	int64_t next; /* the chunk that comes */
};

/* Suspends. Returns 0: d is to be closed; or -errno with e filled: -ENOENT (404) if there is no such file. */
int mongo_gridfs_open(struct mongo_gridfs_download *d, const struct mongo_target *t, const char *bucket,
		      const struct value *id, struct error *e) must_check;
/* Suspends. Returns 1 with *p and *len, valid until the next call; 0: that was all of it; or -errno with e filled. */
int mongo_gridfs_read(struct mongo_gridfs_download *d, const void **p, size_t *len, struct error *e) must_check;
void mongo_gridfs_close(struct mongo_gridfs_download *d);

/* Suspends. Remove a file: {deleted_count}. */
int mongo_gridfs_delete(const struct mongo_target *t, const char *bucket, const struct value *id, struct result **out,
			struct error *e) must_check;
