/* Every text that a client may read in a problem document (RFC 9457) is here or, the titles, in reason.c; the table
 * "Details" of docs/configuration.md lists them, and a test compares the two.
 *
 * A text is a sentence with a capital and a full stop, but for those about a member of `errors`, which go on after
 * its name. It says "data source" whatever the source is, and shows nothing
 * of the inside: no names of tables, no words of a server, no data of other clients. A failure without a text of its
 * own shows the title of its status.
 *
 * A new text is a new row; error_say (base/error.h) takes its status from there. Any thread. */
#pragma once

/* name, status (0: it is added to the text of a failure that happened before it), text */
#define REASONS(ROW)                                                                                                   \
	/* --- the request --- */                                                                                      \
	ROW(PARAMETERS_WRONG, 400, "The request's parameters are not valid.")                                          \
	ROW(PARAMETER_UNFIT, 400, "A parameter's value does not fit.")                                                 \
	ROW(REGEX_WRONG, 400, "A value is not a valid regular expression.")                                            \
	ROW(BODY_MISSING, 400, "There is no body.")                                                                    \
	ROW(BODY_NOT_JSON, 415, "The body must be JSON, with Content-Type: application/json.")                         \
	ROW(BODY_NOT_TEXT, 415, "The body must be a text, with Content-Type: text/plain.")                             \
	ROW(BODY_NOT_NDJSON, 415, "The body must be JSON, a value a line, with Content-Type: application/x-ndjson.")   \
	ROW(BODY_NOT_CSV, 415, "The body must be CSV, with Content-Type: text/csv.")                                   \
	ROW(BODY_NOT_FORM, 415, "The body must be a form.")                                                            \
	ROW(BODY_LARGE, 413, "The body is larger than body_limit.")                                                    \
	ROW(FORM_WRONG, 400, "The form is not well-formed.")                                                           \
	ROW(FORM_LARGE, 413, "The form has too many fields.")                                                          \
	ROW(PATH_WRONG, 400, "The path is not well-formed.")                                                           \
	ROW(PATH_UNKNOWN, 404, "There is nothing at this path.")                                                       \
	ROW(METHOD_NOT_OF_PATH, 405, "This path does not answer this method.")                                         \
	ROW(METHOD_NOT_OF_SERVER, 405, "This server does not answer this method.")                                     \
	ROW(METHOD_UNKNOWN, 501, "Nothing here has this method.")                                                      \
	ROW(RATE_EXCEEDED, 429, "Too many requests from this address.")                                                \
	ROW(REQUEST_LATE, 408, "The request did not arrive in time.")                                                  \
	ROW(PART_UNKNOWN, 400, "The parts of collect[] are http, steps, pools, loop and process.")                     \
	/* --- the reply --- */                                                                                        \
	ROW(REPLY_LARGE, 500, "The reply would be larger than reply_limit.")                                           \
	ROW(JOIN_LARGE, 500, "More rows match than can be joined.")                                                    \
	ROW(FILE_CHANGED, 412, "The file is another version than the one that was meant.")                             \
	ROW(RANGE_WRONG, 416, "The file has no such part.")                                                            \
	/* --- the service --- */                                                                                      \
	ROW(REQUESTS_FULL, 503, "Too many requests are being answered.")                                               \
	ROW(PERMITS_FULL, 503, "Too many requests are waiting.")                                                       \
	ROW(DEADLINE_PASSED, 504, "The deadline of the request has passed.")                                           \
	ROW(HOST_NOT_LOOPBACK, 421, "Host is neither a loopback address nor localhost.")                               \
	ROW(READY_BODY, 400, "The body must be {\"ready\": true} or {\"ready\": false}.")                              \
	ROW(RELOAD_BODY, 400, "The body must be empty, or an object of force, check and timeout_ms.")                  \
	ROW(RELOAD_BUSY, 409, "A reload is still under way.")                                                          \
	ROW(SWITCHED_OFF, 503, "The service was switched off by hand.")                                                \
	ROW(DRAINING, 503, "The service is draining.")                                                                 \
	ROW(STOPPING, 503, "The service is stopping.")                                                                 \
	ROW(RECONFIGURED, 503, "The configuration was changed several times meanwhile.")                               \
	ROW(SOURCE_DOWN, 503, "A source is down.")                                                                     \
	/* --- the sources --- */                                                                                      \
	ROW(UNAVAILABLE, 503, "The data source is not available.")                                                     \
	ROW(UNREACHED, 503, "The data source could not be reached in time.")                                           \
	ROW(BUSY, 503, "The data source is busy.")                                                                     \
	ROW(QUEUE_FULL, 503, "The queue of the data source is full.")                                                  \
	ROW(OVERLOADED, 503, "The data source is overloaded.")                                                         \
	ROW(TAKES_NO_WRITES, 503, "The data source takes no writes now.")                                              \
	ROW(CONFLICT, 503, "Other requests changed the same data at the same time.")                                   \
	ROW(LOCKED, 503, "The data is locked by another request.")                                                     \
	ROW(SLOW, 504, "The data source took too long.")                                                               \
	ROW(BROKEN, 502, "The connection to the data source broke.")                                                   \
	ROW(ANSWER_DAMAGED, 502, "The data source's answer is damaged.")                                               \
	ROW(RESULT_LARGE, 502, "The result is too large.")                                                             \
	ROW(NOT_CONFIRMED, 502, "The change was made, but may not last.")                                              \
	ROW(COMMIT_UNKNOWN, 502, "The change may or may not have been made.")                                          \
	ROW(NOTIFICATIONS_MISSED, 503, "Notifications were missed.")                                                   \
	ROW(NOTIFICATIONS_DOUBTFUL, 503, "Notifications may have been missed.")                                        \
	/* --- data --- */                                                                                             \
	ROW(ROW_EXISTS, 409, "A row with this key exists already.")                                                    \
	ROW(DOCUMENT_EXISTS, 409, "A document with this key exists already.")                                          \
	ROW(ROW_REFERRED, 409, "The row refers to one that does not exist, or is still referred to.")                  \
	ROW(VALUE_MISSING, 422, "A value that must be there is missing.")                                              \
	ROW(VALUE_BREAKS_RULE, 422, "A value breaks a rule of the data source.")                                       \
	ROW(DATA_BREAKS_RULE, 422, "The data breaks a rule of the data source.")                                       \
	ROW(DATA_TWICE, 422, "The data holds twice what may be there once.")                                           \
	ROW(MERGE_UNFIT, 422, "The document does not have the form that the change needs.")                            \
	ROW(DOCUMENT_BREAKS_RULE, 422, "The document breaks a rule of the collection.")                                \
	ROW(NOTHING_TO_CHANGE, 404, "There is nothing here that could be changed.")                                    \
	ROW(CHANGES_OTHERWISE, 409, "More or less would be changed than may be.")                                      \
	ROW(RULE_REFUSES, 422, "A rule of the data source refuses it.")                                                \
	ROW(EACH_LONG, 413, "The list has too many elements.")                                                         \
	ROW(DOCUMENT_LARGE, 413, "The document is too large.")                                                         \
	/* --- files --- */                                                                                            \
	ROW(FILE_MISSING, 404, "There is no such file.")                                                               \
	ROW(FILE_NAME_LONG, 400, "The file's name is too long.")                                                       \
	ROW(FILE_WOULD_BE_LARGE, 413, "The file would be too large.")                                                  \
	ROW(FILE_LARGE, 502, "The file is larger than may be read.")                                                   \
	ROW(FILE_NOT_TEXT, 502, "The file is not text.")                                                               \
	ROW(FILE_NOT_UTF8, 502, "The file is not UTF-8 text.")                                                         \
	ROW(FILE_NOT_JSON, 502, "The file is not JSON.")                                                               \
	ROW(FOLDER_LARGE, 502, "The folder has too many entries.")                                                     \
	ROW(FILES_FULL, 503, "Too many files are waited for.")                                                         \
	/* --- HTTP/1: the head of a request --- */                                                                    \
	ROW(HEAD_EMPTY, 400, "Empty lines stand in the place of a request.")                                           \
	ROW(HEAD_LINE_END, 400, "A line does not end with CR LF.")                                                     \
	ROW(HEAD_METHOD, 400, "The request line does not begin with a method.")                                        \
	ROW(HEAD_METHOD_LONG, 501, "No method is that long.")                                                          \
	ROW(HEAD_TARGET, 400, "The request target is empty or holds a character that must be percent-encoded.")        \
	ROW(HEAD_TARGET_LONG, 414, "The request target is longer than 8 KiB.")                                         \
	ROW(HEAD_TARGET_HOST, 400, "The request target does not name a host and port.")                                \
	ROW(HEAD_TARGET_NOT_PATH, 400, "The request target must be a path.")                                           \
	ROW(HEAD_NO_VERSION, 400, "The request line does not end with an HTTP version.")                               \
	ROW(HEAD_VERSION, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")                                          \
	ROW(HEAD_NO_HOST, 400, "There is no Host.")                                                                    \
	ROW(HEAD_HOSTS, 400, "There is more than one Host.")                                                           \
	ROW(HEAD_HOST, 400, "Host is not a host and port.")                                                            \
	ROW(HEAD_LENGTHS, 400, "There is more than one Content-Length.")                                               \
	ROW(HEAD_LENGTH, 400, "Content-Length is not a number.")                                                       \
	ROW(HEAD_LENGTH_LONG, 413, "Content-Length has more than 18 digits.")                                          \
	ROW(HEAD_ENCODING, 400, "Transfer-Encoding is not chunked.")                                                   \
	ROW(HEAD_LENGTH_AND_ENCODING, 400, "There are both Content-Length and Transfer-Encoding.")                     \
	ROW(HEAD_ENCODING_IN_1_0, 400, "HTTP/1.0 has no Transfer-Encoding.")                                           \
	ROW(HEAD_EXPECT, 417, "Expect is not 100-continue.")                                                           \
	ROW(HEAD_CONTENT_ENCODING, 415, "Content-Encoding is not identity.")                                           \
	ROW(HEAD_FIELD_NAME, 400, "A header field has no proper name.")                                                \
	ROW(HEAD_FIELD_FOLDED, 400, "A header field is folded over two lines.")                                        \
	ROW(HEAD_FIELD_CONTROL, 400, "A control character stands in a header field.")                                  \
	ROW(HEAD_FIELDS_MANY, 431, "There are more than 100 header fields.")                                           \
	ROW(HEAD_FIELDS_LARGE, 431, "There are more than 16 KiB of header fields.")                                    \
	/* --- HTTP/1: a chunked body --- */                                                                           \
	ROW(CHUNK_LINE_END, 400, "In the chunked body a line does not end with CR LF.")                                \
	ROW(CHUNK_LINE_LONG, 400, "A line of the chunked body is longer than 1 KiB.")                                  \
	ROW(CHUNK_NO_SIZE, 400, "A chunk has no size.")                                                                \
	ROW(CHUNK_SIZE, 400, "The size of a chunk is followed by something else.")                                     \
	ROW(CHUNK_LARGE, 413, "The size of a chunk has more than 15 digits.")                                          \
	ROW(CHUNK_EXTENSION, 400, "The extension of a chunk is not well-formed.")                                      \
	ROW(TRAILER_NAME, 400, "A trailer has no proper name.")                                                        \
	ROW(TRAILER_LENGTH, 400, "A trailer says how long the body is.")                                               \
	ROW(TRAILER_CONTROL, 400, "A control character stands in a trailer.")                                          \
	ROW(TRAILERS_LARGE, 431, "There are more than 16 KiB of trailers.")                                            \
	ROW(IF_MATCH_MISSING, 428, "If-Match is missing.")                                                             \
	ROW(OTHER_VERSION, 412, "It is another version than the one that was meant.")                                  \
	/* --- Idempotency-Key --- */                                                                                  \
	ROW(KEY_MISSING, 400, "Idempotency-Key is missing.")                                                           \
	ROW(KEY_BAD, 400, "Idempotency-Key is not 1 to 255 visible characters.")                                       \
	ROW(KEY_RUNNING, 409, "The first request with this Idempotency-Key is still running.")                         \
	ROW(KEY_UNKNOWN, 409, "Nobody knows what became of the first request with this Idempotency-Key.")              \
	ROW(KEY_LARGE, 409, "The request was done, but its reply was too large to be kept.")                           \
	ROW(KEY_OTHER, 422, "This Idempotency-Key was used for another request.")                                      \
	/* --- what has become of changes --- */                                                                       \
	ROW(ALSO_UNKNOWN, 0, "The change may or may not have been made.")                                              \
	ROW(ALSO_MADE, 0, "The change was made.")                                                                      \
	ROW(ALSO_OTHERS, 0, "Other changes of this request were made.")

#define REASON_CODE(name, status, text) REASON_##name,
enum reason {
	REASON_NONE, /* only the title of the status */
	REASONS(REASON_CODE) REASON_COUNT,
};
#undef REASON_CODE

/* NULL of REASON_NONE. */
const char *reason_text(enum reason m);
/* 500 of REASON_NONE, 0 of one that is added to another. */
int reason_status(enum reason m);
/* The title of a status: "Not Found" and so on (RFC 9110, IANA); of one that is not registered "Other" below 400, else
 * "Error". */
const char *reason_title(unsigned status);

/* Formats: they are macros so that the compiler checks what fills them. */

#define REASON_PART_DONE "%u of %u were done." /* added to the text of a MongoDB write of several statements */

/* In the detail of a 400 about a value: "{the reference, or the part that it is for} {this}." */
#define UNFIT_NULL_IN_FILE_NAME       "is null, and can't stand in a file's name"
#define UNFIT_STRUCTURED_IN_FILE_NAME "is not a text, and can't stand in a file's name"
#define UNFIT_NUL_IN_FILE_NAME        "holds a NUL character, and can't stand in a file's name"
#define UNFIT_SLASH_IN_FILE_NAME      "holds a \"/\", and can't stand in a file's name"
#define UNFIT_DOTS_IN_FILE_NAME       "is empty, \".\" or \"..\", and can't stand in a file's name"
#define UNFIT_LEADS_OUT               "leads out of its folder"
#define UNFIT_NULL_IN_PATH            "is null, and can't stand in a path"
#define UNFIT_DOTS_IN_PATH            "is empty, \".\" or \"..\""
#define UNFIT_HOLDS_NUL               "holds a NUL character"
#define UNFIT_NAME_HOLDS_NUL          "has a member whose name holds a NUL character"
#define UNFIT_NAME_NO_PATH            "has a member whose name is empty or holds a \".\""
#define UNFIT_HAS_ID                  "has the member _id, which can't be changed"
#define UNFIT_DEEP                    "is nested too deeply"
#define UNFIT_LARGE_NUMBER            "is a number that is too large"
#define UNFIT_NOT_JSON                "can't be read as JSON"
#define UNFIT_NOT_OBJECTID            "is not an ObjectId (24 hexadecimal digits)"
#define UNFIT_NOT_DATE                "is not a date (2024-02-29, 2024-02-29T12:00:00Z)"
#define UNFIT_NOT_INT64               "is not an integer of 64 bits"
#define UNFIT_NOT_INT32               "is not an integer of 32 bits"
#define UNFIT_NOT_DECIMAL             "is not a decimal number of at most 34 digits"
#define UNFIT_NOT_NUMBER              "is not a number"
#define UNFIT_NOT_BASE64              "is not base64"
#define UNFIT_NOT_UUID                "is not a UUID"
#define UNFIT_NOT_SCALAR              "is neither a text nor a number"
#define UNFIT_NOT_COUNT               "is not an integer of 0 or more"
#define UNFIT_NOT_FLAG                "is neither true nor false"
#define UNFIT_NOT_BEFORE_OR_AFTER     "is neither \"before\" nor \"after\""
#define UNFIT_IS_NULL                 "is null"
#define UNFIT_NOT_DOCUMENT            "is not a document"
#define UNFIT_NOT_LIST                "is not a list"
#define UNFIT_NOT_STAGE               "is not a document with one operator: {\"$match\": ...}"
#define UNFIT_OPERATOR                "is an operator, and not a name to be stored"
#define UNFIT_NAMES_OPERATOR          "has a member whose name begins with \"$\""
#define UNFIT_UNDECLARED              "is an object or array, and its parameter is not declared as such"
#define UNFIT_OBJECT                  "is an object, and none is expected"
/* The whole detail. */
#define UNFIT_IN_HEADER "A control character can't stand in the header %.80s."

/* In the detail of a member of `errors`; `name` and `in` beside it say what it is about. */
#define MISTAKE_REQUIRED     "is required"
#define MISTAKE_UNKNOWN      "is not known"
#define MISTAKE_TWICE        "must be given once"
#define MISTAKE_TYPE         "must be %s"
#define MISTAKE_CHOICE       "must be one of: %s"
#define MISTAKE_INT64        "must be between %lld and %lld"
#define MISTAKE_MINIMUM      "must be at least %s"
#define MISTAKE_MAXIMUM      "must be at most %s"
#define MISTAKE_PATTERN      "must match `%s`"
#define MISTAKE_PATTERN_SLOW "takes too long to check"
#define MISTAKE_SHORT        "must have at least %llu %s%s"
#define MISTAKE_LONG         "must have at most %llu %s%s"
#define MISTAKE_NUL          "must not have a NUL character"
#define MISTAKE_UTF8         "must be UTF-8 text"
#define MISTAKE_PERCENT      "must be percent-encoded UTF-8 text without NUL"
#define MISTAKE_NAME_PERCENT "a name is not percent-encoded UTF-8 text"
#define MISTAKE_ABOVE        "must be above %s"
#define MISTAKE_BELOW        "must be below %s"
#define MISTAKE_MULTIPLE     "must be a multiple of %s"
#define MISTAKE_UNIQUE       "must not have equal items"
#define MISTAKE_DEPENDENT    "is required beside `%s`"
#define MISTAKE_READ_ONLY    "must not be sent"
#define MISTAKE_NEVER        "is not allowed"
#define MISTAKE_NOT          "must not fit the schema of `not`"
#define MISTAKE_NONE_OF      "fits none of the alternatives"
#define MISTAKE_MANY_OF      "fits more than one of the alternatives"
#define MISTAKE_COMPLEX      "takes too many steps to check"
#define MISTAKE_BODY_JSON    "is not valid JSON: %s"
#define MISTAKE_BODY_FORM    "is not a valid form: %s"
#define MISTAKE_BODY_CSV     "is not valid CSV: %s"
#define MISTAKE_FILE         "must be a file"
#define MISTAKE_MEDIA_TYPE   "must be a file of one of these types: %s"
#define MISTAKE_BODY_OBJECT  "must be an object"
