/* One client of libmongoc: a connection to whichever servers the URL names. Used by one task at a time. */
#pragma once

#include "async/task.h"
#include "base/error.h"
#include "drivers/budget.h"
#include "drivers/mongo/wire/session.h"
#include "drivers/mongo/wire/stream.h"

struct mongo_pool;

enum mongo_connection_state {
	CONNECTION_OPENING,
	CONNECTION_IDLE,
	CONNECTION_BUSY,
	CONNECTION_LEAVING, /* sound: it says good-bye */
	CONNECTION_BROKEN,  /* its sockets are closed; what is left of it waits to be destroyed */
	CONNECTION_STATES
};

/* The labels that the server gives an error beside its code. */
enum mongo_error_label {
	LABEL_TRANSIENT = 1,      /* TransientTransactionError */
	LABEL_UNKNOWN_COMMIT = 2, /* UnknownTransactionCommitResult */
	LABEL_RESUMABLE = 4,      /* ResumableChangeStreamError */
};

/* The limits of its server. */
struct mongo_connection_limits {
	bool writable;         /* it is not a secondary */
	bool transactions;     /* it is part of a replica set, or leads to a sharded cluster, and not too old */
	bool starts_at_times;  /* change streams, not only after tokens */
	size_t document_bytes; /* of one document */
	size_t statements;     /* documents, updates or deletes in one command */
};

struct mongo_connection {
	struct list link;        /* in pool->in[state] */
	uint64_t number;         /* for the log */
	uint8_t state;           /* enum mongo_connection_state; written by pool.c's move alone */
	struct mongo_pool *pool; /* NULL: on its way to another worker's */
	struct budget_parcel parcel;
	mongoc_client_t *client;
	uint32_t server; /* the one that was chosen when it was opened */
	bson_t *options; /* {serverId}: every command goes there */
	struct mongo_connection_limits limits;
	struct mongo_stream_set streams;
	struct mongo_session session; /* while it is open, commands are part of its transaction */
	unsigned labels;              /* enum mongo_error_label: of the last answer */
	struct task *task;            /* CONNECTION_OPENING: who opens it */
	bool counted;                 /* as a connection that works, in the source's health */
	unsigned generation;          /* the source's when it was opened */
	bool disturbed;               /* a connection of its was closed meanwhile */
	bool lost;                    /* libmongoc has forgotten the server: no more commands */
	int64_t opened_us, idle_since_us;
};

/* Make a client and see that a server answers it and lets it in. Suspends. Returns 0, or -errno with e filled: then the
 * client is there all the same, to be destroyed. */
int mongo_connection_open(struct mongo_connection *c, const mongoc_uri_t *uri, const char *database,
			  const struct mongo_stream_settings *settings, void (*disturbed)(struct mongo_stream_set *set),
			  struct error *e) must_check;
/* Run a command, with the URL's read preference, and its read concern if the command takes one. Suspends, until the
 * task's deadline. Returns whether the server did it; *reply is to be destroyed either way. On a lost one it fails at
 * once. */
bool mongo_connection_command(struct mongo_connection *c, const char *database, const bson_t *command, bson_t *reply,
			      bson_error_t *error);
/* The same for a command that writes, with the URL's write concern. An answer with a writeConcernError counts as done.
 */
bool mongo_connection_write(struct mongo_connection *c, const char *database, const bson_t *command, bson_t *reply,
			    bson_error_t *error);
/* A write is refused because its server was a secondary when the connection was opened. Returns what follows for the
 * connection (errors.h): if the URL leads to that server whatever it is, one of some age is replaced, since the
 * server may have become the primary. */
unsigned mongo_connection_unwritable(const struct mongo_connection *c);
/* From when on may a broken one be destroyed? Before, libmongoc could put the thread to sleep. */
deadline_t mongo_connection_rest(const struct mongo_connection *c);
/* Suspends: tells the server, if that is still possible by `by`. Not cancelled by the task's cancellation. */
void mongo_connection_destroy(struct mongo_connection *c, deadline_t by);
