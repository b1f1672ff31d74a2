/* A session of MongoDB's, which makes the commands on a connection part of a transaction.
 *
 * A connection has one, from its first transaction on, and each transaction has the next number in it. libmongoc's own
 * transactions are not used: they look for servers while they commit. Loop thread only. */
#pragma once

#include <mongoc/mongoc.h>

#include "base/compiler.h"

enum { SESSION_ID_LEN = 16 };

/* Which transaction it is, wherever it is committed. */
struct mongo_session_identity {
	uint8_t id[SESSION_ID_LEN];
	int64_t number;
};

struct mongo_session {
	mongoc_client_session_t *handle;   /* NULL: there was no transaction yet */
	bson_t *options;                   /* of commands: {serverId, sessionId} */
	struct mongo_session_identity own; /* its last transaction's */
	mongoc_write_concern_t *concern;   /* the URL's: only the end of a transaction has it */
	/* While it is open: */
	bool open;
	bool begun;    /* a command was sent */
	bool snapshot; /* all reads see the same moment */
	struct mongo_session_identity now;
	bson_t *recovery; /* what a router needs to end it; NULL: none */
};

/* The commands on `client` (options: {serverId}) are part of a transaction from now on: a new one, or (identity not
 * NULL) one that began on another connection. False with error set: the server has no sessions. */
bool mongo_session_open(struct mongo_session *s, mongoc_client_t *client, const bson_t *options,
			const struct mongo_session_identity *identity, bson_error_t *error);
/* Commands stand by themselves again. Does not talk to the server. */
void mongo_session_close(struct mongo_session *s, mongoc_client_t *client);
/* The connection ends. */
void mongo_session_done(struct mongo_session *s);
/* Suspends. A command of the transaction; as mongoc_client_command_with_opts. */
bool mongo_session_command(struct mongo_session *s, mongoc_client_t *client, const char *database,
			   const bson_t *command, bson_t *reply, bson_error_t *error);
