/* What a write brings: its counts and the ids that it has made, from statements that were sent. Does not suspend. */
#pragma once

#include "drivers/mongo/calls/result.h"
#include "drivers/mongo/calls/statements.h"

/* {inserted_id}: of that statement. */
void mongo_written_inserted(const struct mongo_statements *s, uint32_t index, struct mongo_result *out);
/* {inserted_count, inserted_ids}. */
void mongo_written_all(const struct mongo_statements *s, struct mongo_result *out);
/* {matched_count, modified_count, upserted_id}, the last null if nothing was upserted. */
void mongo_written_changed(struct mongo_statements *s, struct mongo_result *out);
/* {deleted_count}. */
void mongo_written_deleted(const struct mongo_statements *s, struct mongo_result *out);
