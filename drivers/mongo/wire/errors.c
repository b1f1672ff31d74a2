/* MongoDB's codes are those of the server's error_codes.yml. */
#include "drivers/mongo/wire/errors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "async/task.h"

struct code {
	uint32_t code;
	enum reason reason;
	int errnum;
	unsigned consequences;
	bool if_from_request; /* the row holds only if the request supplied a value; else it is a 500 */
};

#define NOT_PRIMARY (MONGO_DISCARD | MONGO_SUSPECT | MONGO_AGAIN)

static const struct code codes[] = {
	{11000, REASON_DOCUMENT_EXISTS, -EEXIST, 0, false}, /* DuplicateKey */
	{11001, REASON_DOCUMENT_EXISTS, -EEXIST, 0, false},
	{12582, REASON_DOCUMENT_EXISTS, -EEXIST, 0, false},
	{121, REASON_DOCUMENT_BREAKS_RULE, -EINVAL, 0, false}, /* DocumentValidationFailure */
	{51091, REASON_REGEX_WRONG, -EINVAL, 0, true},
	{241, REASON_PARAMETER_UNFIT, -EINVAL, 0, true},                /* ConversionFailure */
	{50, REASON_SLOW, -ETIMEDOUT, 0, false},                        /* MaxTimeMSExpired */
	{262, REASON_SLOW, -ETIMEDOUT, 0, false},                       /* ExceededTimeLimit */
	{202, REASON_SLOW, -ETIMEDOUT, 0, false},                       /* NetworkInterfaceExceededTimeLimit */
	{6, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false},     /* HostUnreachable */
	{7, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false},     /* HostNotFound */
	{89, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false},    /* NetworkTimeout */
	{91, REASON_UNAVAILABLE, -ESHUTDOWN, NOT_PRIMARY, false},       /* ShutdownInProgress */
	{133, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false},   /* FailedToSatisfyReadPreference */
	{189, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false},   /* PrimarySteppedDown */
	{9001, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false},  /* SocketException */
	{10058, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false}, /* LegacyNotPrimary */
	{10107, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false}, /* NotWritablePrimary */
	{11600, REASON_UNAVAILABLE, -ESHUTDOWN, NOT_PRIMARY, false},    /* InterruptedAtShutdown */
	{11602, REASON_UNAVAILABLE, -ESHUTDOWN, NOT_PRIMARY, false},    /* InterruptedDueToReplStateChange */
	{13435, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false}, /* NotPrimaryNoSecondaryOk */
	{13436, REASON_UNAVAILABLE, -EHOSTUNREACH, NOT_PRIMARY, false}, /* NotPrimaryOrSecondary */
	{43, REASON_UNAVAILABLE, -EAGAIN, MONGO_AGAIN, false},          /* CursorNotFound */
	{175, REASON_UNAVAILABLE, -EAGAIN, MONGO_AGAIN, false},         /* QueryPlanKilled */
	{237, REASON_UNAVAILABLE, -EAGAIN, MONGO_AGAIN, false},         /* CursorKilled */
	{112, REASON_CONFLICT, -EAGAIN, 0, false},                      /* WriteConflict */
	{24, REASON_UNAVAILABLE, -EAGAIN, 0, false},                    /* LockTimeout */
	{46, REASON_UNAVAILABLE, -EAGAIN, 0, false},                    /* LockBusy */
	{11, REASON_UNAVAILABLE, -EACCES, MONGO_DISCARD, false},        /* UserNotFound */
	{18, REASON_UNAVAILABLE, -EACCES, MONGO_DISCARD, false},        /* AuthenticationFailed */
	{391, REASON_UNAVAILABLE, -EACCES, MONGO_DISCARD, false},       /* ReauthenticationRequired */
	{8000, REASON_UNAVAILABLE, -EACCES, MONGO_DISCARD, false},      /* AtlasError */
	{11601, REASON_UNAVAILABLE, -EINTR, 0, false},                  /* Interrupted */
};

static void set_code(struct error *e, uint32_t code)
{
	if (e)
		snprintf(e->code, sizeof(e->code), "%u", code);
}

/* The server's own word. */
static int server_error(struct error *e, const bson_error_t *error, bool from_request, unsigned *consequences)
{
	static const struct code any = {.errnum = -EPROTO};
	const struct code *row = &any;

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		if (codes[i].code == error->code && (from_request || !codes[i].if_from_request))
			row = &codes[i];
	}
	*consequences = row->consequences;
	int r = error_say(e, row->errnum, row->reason, "MongoDB error %u: %.300s", error->code, error->message);
	set_code(e, error->code);
	return r;
}

int mongo_statement_error(struct error *e, uint32_t code, const char *message, bool from_request,
			  unsigned *consequences)
{
	bson_error_t error;

	bson_set_error(&error, MONGOC_ERROR_SERVER, code, "%s", message);
	return server_error(e, &error, from_request, consequences);
}

int mongo_concern_error(struct error *e, uint32_t code, const char *message)
{
	int r = error_say(e, -EIO, REASON_NOT_CONFIRMED,
			  "MongoDB's write concern failed with error %u: %.200s; the write was done, but may not last",
			  code, message);
	set_code(e, code);
	if (e)
		e->change = CHANGE_UNKNOWN;
	return r;
}

bool mongo_error_is_uncertain(const bson_error_t *error, const struct mongo_stream_set *streams)
{
	/* The server was interrupted in its work, or never asked the ones that it waited for. */
	static const uint32_t interrupted[] = {6, 7, 50, 89, 91, 189, 202, 262, 9001, 11600, 11601, 11602};

	if (streams->fault)
		return true;
	if (error->domain != MONGOC_ERROR_SERVER)
		return error->domain != MONGOC_ERROR_COMMAND && error->domain != MONGOC_ERROR_CURSOR;
	for (size_t i = 0; i < ARRAY_SIZE(interrupted); i++)
		if (interrupted[i] == error->code)
			return true;
	return false;
}

void mongo_error_uncertain(struct error *e)
{
	if (e->status == 503 && e->errnum != -ECANCELED)
		e->status = 502; /* 503 would ask the client to do it again */
	error_uncertain(e);
}

/* The deadline that ran out is the task's, or only libmongoc's own for connecting. */
static bool deadline_is_over(const struct mongo_stream_set *streams)
{
	return streams->fault == -ETIMEDOUT && deadline_passed(task_deadline());
}

/* Nothing came from the server, or nothing that can be read. */
static int broken_error(struct error *e, const bson_error_t *error, const struct mongo_stream_set *streams)
{
	const char *why = streams->why[0] ? streams->why : error->message;

	if (streams->fault == -ECANCELED)
		return error_set(e, -ECANCELED, 503, NULL, "cancelled");
	if (streams->fault == -ETIMEDOUT)
		return error_say(e, -ETIMEDOUT, REASON_SLOW, "no answer from MongoDB before the deadline");
	if (streams->fault == -EPROTO)
		return error_set(e, -EPROTO, 502, NULL, "MongoDB answered nonsense: %.300s", why);
	if (error->domain == MONGOC_ERROR_PROTOCOL || error->domain == MONGOC_ERROR_BSON)
		return error_set(e, -EPROTO, 502, NULL, "MongoDB answered nonsense: %.300s", error->message);
	if (streams->answering && streams->fault)
		return error_say(e, -ECONNRESET, REASON_BROKEN, "MongoDB broke off while it was answering: %.300s",
				 why);
	return error_say(e, streams->fault ? streams->fault : -EHOSTUNREACH, REASON_UNAVAILABLE, "MongoDB: %.300s",
			 why);
}

int mongo_operation_error(struct error *e, const bson_error_t *error, const struct mongo_stream_set *streams,
			  bool from_request, unsigned *consequences)
{
	if (!streams->fault && error->domain == MONGOC_ERROR_SERVER)
		return server_error(e, error, from_request, consequences);
	if (!streams->fault && (error->domain == MONGOC_ERROR_COMMAND || error->domain == MONGOC_ERROR_CURSOR)) {
		*consequences = 0;
		return error_set(e, -EINVAL, 500, NULL, "libmongoc: %.300s", error->message);
	}
	*consequences = MONGO_DISCARD;
	int r = broken_error(e, error, streams);
	if (r != -ECANCELED && r != -ETIMEDOUT)
		*consequences |= MONGO_SUSPECT | MONGO_AGAIN;
	return r;
}

int mongo_connect_error(struct error *e, const bson_error_t *error, const struct mongo_stream_set *streams)
{
	if (streams->fault == -ECANCELED)
		return error_set(e, -ECANCELED, 503, NULL, "cancelled");
	if (deadline_is_over(streams))
		return error_say(e, -EHOSTUNREACH, REASON_UNAVAILABLE,
				 "can't connect to MongoDB: no answer in time%s%.200s", streams->why[0] ? ": " : "",
				 streams->why);
	int r = error_say(e, -EHOSTUNREACH, REASON_UNAVAILABLE, "can't connect to MongoDB: %.300s%s%.200s",
			  error->message, streams->why[0] ? ": " : "", streams->why);
	if (error->domain == MONGOC_ERROR_SERVER)
		set_code(e, error->code);
	return r;
}
