/* MongoDB's codes are those of the server's error_codes.yml. */
#include "drivers/mongo/wire/errors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "async/task.h"

static const char unavailable[] = "The data source is not available.";
static const char slow[] = "The data source took too long.";

struct code {
	uint32_t code;
	int status;
	int errnum;
	unsigned consequences;
	const char *text;     /* for the client; NULL: the status's own */
	bool if_from_request; /* the row holds only if the request supplied a value; else it is a 500 */
};

#define NOT_PRIMARY (MONGO_DISCARD | MONGO_SUSPECT | MONGO_AGAIN)

static const struct code codes[] = {
	{11000, 409, -EEXIST, 0, "A document with this key exists already.", false}, /* DuplicateKey */
	{11001, 409, -EEXIST, 0, "A document with this key exists already.", false},
	{12582, 409, -EEXIST, 0, "A document with this key exists already.", false},
	{121, 422, -EINVAL, 0, "The document breaks a rule of the collection.", false}, /* DocumentValidationFailure */
	{51091, 400, -EINVAL, 0, "A value is not a valid regular expression.", true},
	{241, 400, -EINVAL, 0, "A parameter's value does not fit.", true}, /* ConversionFailure */
	{50, 504, -ETIMEDOUT, 0, slow, false},                             /* MaxTimeMSExpired */
	{262, 504, -ETIMEDOUT, 0, slow, false},                            /* ExceededTimeLimit */
	{202, 504, -ETIMEDOUT, 0, slow, false},                            /* NetworkInterfaceExceededTimeLimit */
	{6, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},          /* HostUnreachable */
	{7, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},          /* HostNotFound */
	{89, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},         /* NetworkTimeout */
	{91, 503, -ESHUTDOWN, NOT_PRIMARY, unavailable, false},            /* ShutdownInProgress */
	{133, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},        /* FailedToSatisfyReadPreference */
	{189, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},        /* PrimarySteppedDown */
	{9001, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},       /* SocketException */
	{10058, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},      /* LegacyNotPrimary */
	{10107, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},      /* NotWritablePrimary */
	{11600, 503, -ESHUTDOWN, NOT_PRIMARY, unavailable, false},         /* InterruptedAtShutdown */
	{11602, 503, -ESHUTDOWN, NOT_PRIMARY, unavailable, false},         /* InterruptedDueToReplStateChange */
	{13435, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},      /* NotPrimaryNoSecondaryOk */
	{13436, 503, -EHOSTUNREACH, NOT_PRIMARY, unavailable, false},      /* NotPrimaryOrSecondary */
	{43, 503, -EAGAIN, MONGO_AGAIN, unavailable, false},               /* CursorNotFound */
	{175, 503, -EAGAIN, MONGO_AGAIN, unavailable, false},              /* QueryPlanKilled */
	{237, 503, -EAGAIN, MONGO_AGAIN, unavailable, false},              /* CursorKilled */
	{112, 503, -EAGAIN, 0, "Other requests changed the same data at the same time.", false}, /* WriteConflict */
	{24, 503, -EAGAIN, 0, unavailable, false},                                               /* LockTimeout */
	{46, 503, -EAGAIN, 0, unavailable, false},                                               /* LockBusy */
	{11, 503, -EACCES, MONGO_DISCARD, unavailable, false},                                   /* UserNotFound */
	{18, 503, -EACCES, MONGO_DISCARD, unavailable, false},   /* AuthenticationFailed */
	{391, 503, -EACCES, MONGO_DISCARD, unavailable, false},  /* ReauthenticationRequired */
	{8000, 503, -EACCES, MONGO_DISCARD, unavailable, false}, /* AtlasError */
	{11601, 503, -EINTR, 0, unavailable, false},             /* Interrupted */
};

static void set_code(struct error *e, uint32_t code)
{
	if (e)
		snprintf(e->code, sizeof(e->code), "%u", code);
}

/* The server's own word. */
static int server_error(struct error *e, const bson_error_t *error, bool from_request, unsigned *consequences)
{
	static const struct code any = {.status = 500, .errnum = -EPROTO};
	const struct code *row = &any;

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		if (codes[i].code == error->code && (from_request || !codes[i].if_from_request))
			row = &codes[i];
	}
	*consequences = row->consequences;
	int r = error_set(e, row->errnum, row->status, row->text, "MongoDB error %u: %.300s", error->code,
			  error->message);
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
	int r = error_set(e, -EIO, 502, "The change was made, but may not last.",
			  "MongoDB's write concern failed with error %u: %.200s; the write was done, but may not last",
			  code, message);
	set_code(e, code);
	if (e)
		e->change = CHANGE_UNKNOWN;
	return r;
}

bool mongo_error_is_uncertain(const bson_error_t *error, const struct stream_set *streams)
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
static bool deadline_is_over(const struct stream_set *streams)
{
	return streams->fault == -ETIMEDOUT && deadline_passed(task_deadline());
}

/* Nothing came from the server, or nothing that can be read. */
static int broken_error(struct error *e, const bson_error_t *error, const struct stream_set *streams)
{
	const char *why = streams->why[0] ? streams->why : error->message;

	if (streams->fault == -ECANCELED)
		return error_set(e, -ECANCELED, 503, NULL, "canceled");
	if (streams->fault == -ETIMEDOUT)
		return error_set(e, -ETIMEDOUT, 504, slow, "no answer from MongoDB before the deadline");
	if (streams->fault == -EPROTO)
		return error_set(e, -EPROTO, 502, NULL, "MongoDB answered nonsense: %.300s", why);
	if (error->domain == MONGOC_ERROR_PROTOCOL || error->domain == MONGOC_ERROR_BSON)
		return error_set(e, -EPROTO, 502, NULL, "MongoDB answered nonsense: %.300s", error->message);
	if (streams->answering && streams->fault)
		return error_set(e, -ECONNRESET, 502, "The connection to the data source broke.",
				 "MongoDB broke off while it was answering: %.300s", why);
	return error_set(e, streams->fault ? streams->fault : -EHOSTUNREACH, 503, unavailable, "MongoDB: %.300s", why);
}

int mongo_operation_error(struct error *e, const bson_error_t *error, const struct stream_set *streams,
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

int mongo_connect_error(struct error *e, const bson_error_t *error, const struct stream_set *streams)
{
	if (streams->fault == -ECANCELED)
		return error_set(e, -ECANCELED, 503, NULL, "canceled");
	if (deadline_is_over(streams))
		return error_set(e, -EHOSTUNREACH, 503, unavailable,
				 "can't connect to MongoDB: no answer in time%s%.200s", streams->why[0] ? ": " : "",
				 streams->why);
	int r = error_set(e, -EHOSTUNREACH, 503, unavailable, "can't connect to MongoDB: %.300s%s%.200s",
			  error->message, streams->why[0] ? ": " : "", streams->why);
	if (error->domain == MONGOC_ERROR_SERVER)
		set_code(e, error->code);
	return r;
}
