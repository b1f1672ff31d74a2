/* What commands of steps and of handlers have in common. */
#include "drivers/mongo/calls/command.h"

#include <string.h>

#define KEY(s) s, sizeof(s) - 1

/* One stage with a number in it. */
static void put_amount(struct mongo_out *out, const char *index, const char *name, int64_t n)
{
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, index, 1);
	mongo_out_int(out, name, strlen(name), n);
	mongo_out_end(out);
}

void mongo_count_stages(struct mongo_out *out, int64_t skip, int64_t limit)
{
	char index[2] = "0";

	if (skip > 0) {
		index[0]++;
		put_amount(out, index, "$skip", skip);
	}
	if (limit >= 0) {
		index[0]++;
		put_amount(out, index, "$limit", limit);
	}
	index[0]++;
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, index, 1);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("$group"));
	mongo_out_int32(out, KEY("_id"), 1);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("n"));
	mongo_out_int32(out, KEY("$sum"), 1);
	for (int i = 0; i < 4; i++) /* n, $group, the stage, the pipeline */
		mongo_out_end(out);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("cursor"));
	mongo_out_end(out);
}

void mongo_command_limit(struct mongo_command *c, deadline_t by)
{
	int64_t ms = deadline_left_us(by) / 1000;
	uint32_t le = BSON_UINT32_TO_LE((uint32_t)(ms < 1 ? 1 : ms < INT32_MAX ? ms : INT32_MAX));

	if (c->max_time_at == 0)
		return;
	memcpy(c->bytes.data + c->max_time_at, &le, sizeof(le));
}

void mongo_command_done(struct mongo_command *c)
{
	buf_done(&c->bytes);
}
