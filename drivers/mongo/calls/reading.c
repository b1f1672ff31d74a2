/* Reading commands. */
#include "drivers/mongo/calls/reading.h"

#include <errno.h>
#include <string.h>

#define KEY(s) s, sizeof(s) - 1

int mongo_name_check(const char *name, const char *what, struct error *e)
{
	return name && *name ? 0 : error_set(e, -EINVAL, 500, NULL, "%s has no name", what);
}

static int begin(struct mongo_document_maker *m, struct mongo_reading *r, const char *command, const char *collection,
		 struct error *e)
{
	r->command = (struct mongo_command){0};
	r->choices = MONGO_CHOICES_NONE;
	mongo_document_maker_init(m, &r->command.bytes, e);
	int status = mongo_name_check(collection, "the collection", e);
	if (status < 0)
		return status;
	mongo_out_document(&m->out);
	mongo_out_text(&m->out, command, strlen(command), collection, strlen(collection));
	return 0;
}

/* status: what came of it so far. */
static int end(struct mongo_document_maker *m, struct mongo_reading *r, int status, enum mongo_delivery delivery)
{
	if (status == 0 && delivery == DELIVER_WHOLE) {
		mongo_out_int32(&m->out, KEY("maxTimeMS"), INT32_MAX);
		r->command.max_time_at = r->command.bytes.len - sizeof(int32_t);
	}
	if (status == 0)
		mongo_out_end(&m->out);
	r->command.from_request = m->from_request;
	r->command.nothing = r->choices.limit == 0;
	r->action.pipeline.writes = m->writes;
	mongo_document_maker_done(m);
	return status;
}

/* -1: as the server likes. */
static int64_t batch_size(const struct mongo_reading *r, enum mongo_delivery delivery)
{
	int64_t size = r->choices.batch_size > 0 ? r->choices.batch_size : -1;

	if (size > INT32_MAX)
		size = INT32_MAX;
	if (delivery == DELIVER_STREAM && (size < 0 || size > FIRST_BATCH))
		size = FIRST_BATCH;
	return size;
}

int mongo_reading_find(struct mongo_reading *r, const char *collection, const struct value *filter,
		       const struct value *options, bool one, enum mongo_delivery delivery, struct error *e)
{
	struct mongo_document_maker m;

	r->action = (struct mongo_action){.kind = one ? ACTION_FIND_ONE : ACTION_FIND,
					  .expect = one ? EXPECT_MAYBE : EXPECT_MANY};
	int status = begin(&m, r, "find", collection, e);
	if (status == 0)
		status = mongo_document_put(&m, "filter", filter, DOCUMENT_FILTER, "the filter");
	if (status == 0)
		status = mongo_options_put(&m, options, OPTIONS_FIND, OPTION_OF_COMMAND | OPTION_OF_STATEMENT, NULL,
					   &r->choices);
	if (status < 0)
		return end(&m, r, status, delivery);
	if (one && r->choices.limit != 0)
		r->choices.limit = 1;
	if (r->choices.skip > 0)
		mongo_out_int(&m.out, KEY("skip"), r->choices.skip);
	if (r->choices.limit > 0)
		mongo_out_int(&m.out, KEY("limit"), r->choices.limit);
	if (one)
		mongo_out_bool(&m.out, KEY("singleBatch"), true);
	else if (batch_size(r, delivery) > 0)
		mongo_out_int(&m.out, KEY("batchSize"), batch_size(r, delivery));
	return end(&m, r, 0, delivery);
}

static void put_cursor(struct mongo_document_maker *m, int64_t size)
{
	mongo_out_begin(&m->out, BSON_TYPE_DOCUMENT, KEY("cursor"));
	if (size > 0)
		mongo_out_int(&m->out, KEY("batchSize"), size);
	mongo_out_end(&m->out);
}

int mongo_reading_aggregate(struct mongo_reading *r, const char *collection, const struct value *pipeline,
			    const struct value *options, enum mongo_delivery delivery, struct error *e)
{
	struct mongo_document_maker m;

	r->action = (struct mongo_action){.kind = ACTION_AGGREGATE, .expect = EXPECT_MANY};
	int status = begin(&m, r, "aggregate", collection, e);
	if (status == 0)
		status = mongo_document_put(&m, "pipeline", pipeline, DOCUMENT_PIPELINE, "the pipeline");
	if (status == 0 && m.writes && delivery == DELIVER_STREAM)
		status = mongo_document_refuse(&m, false, "$out and $merge bring no documents to read one by one");
	if (status == 0)
		status = mongo_options_put(&m, options, OPTIONS_AGGREGATE, OPTION_OF_COMMAND | OPTION_OF_STATEMENT,
					   NULL, &r->choices);
	if (status == 0)
		put_cursor(&m, m.writes ? -1 : batch_size(r, delivery));
	return end(&m, r, status, delivery);
}

static bool is_empty(const struct value *v)
{
	return v && v->kind == VALUE_DOCUMENT && v->count == 0;
}

int mongo_reading_count(struct mongo_reading *r, const char *collection, const struct value *filter,
			const struct value *options, bool one_by_one, struct error *e)
{
	bool all = !one_by_one && is_empty(filter) && (!options || is_empty(options));
	struct mongo_document_maker m;

	r->action = (struct mongo_action){.kind = ACTION_COUNT, .expect = EXPECT_VALUE};
	int status = begin(&m, r, all ? "count" : "aggregate", collection, e);
	if (status < 0 || all)
		return end(&m, r, status, DELIVER_WHOLE);
	status = mongo_options_put(&m, options, OPTIONS_COUNT, OPTION_OF_COMMAND | OPTION_OF_STATEMENT, NULL,
				   &r->choices);
	if (status == 0) {
		mongo_out_begin(&m.out, BSON_TYPE_ARRAY, KEY("pipeline"));
		mongo_out_begin(&m.out, BSON_TYPE_DOCUMENT, KEY("0"));
		status = mongo_document_put(&m, "$match", filter, DOCUMENT_FILTER, "the filter");
	}
	if (status == 0) {
		mongo_out_end(&m.out);
		mongo_count_stages(&m.out, r->choices.skip, r->choices.limit);
	}
	return end(&m, r, status, DELIVER_WHOLE);
}

int mongo_reading_distinct(struct mongo_reading *r, const char *collection, const char *field,
			   const struct value *filter, struct error *e)
{
	struct mongo_document_maker m;

	r->action = (struct mongo_action){.kind = ACTION_DISTINCT, .expect = EXPECT_MANY};
	int status = begin(&m, r, "distinct", collection, e);
	if (status == 0)
		status = mongo_name_check(field, "the field", e);
	if (status == 0) {
		mongo_out_text(&m.out, KEY("key"), field, strlen(field));
		status = mongo_document_put(&m, "query", filter, DOCUMENT_FILTER, "the filter");
	}
	return end(&m, r, status, DELIVER_WHOLE);
}

void mongo_reading_done(struct mongo_reading *r)
{
	mongo_command_done(&r->command);
}
