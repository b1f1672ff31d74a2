/* The words of what is counted of sources. */
#include "drivers/numbers.h"

const struct tally_kind source_tally = {sizeof(struct source_numbers), NULL};

const char *const pool_state_names[POOL_STATES] = {"idle", "busy", "connecting", "quarantined"};
const char *const pool_refusal_names[POOL_REFUSALS] = {"full", "timeout", "down"};
const char *const pool_connect_names[POOL_CONNECTS] = {"ok", "failed"};
const char *const source_role_names[SOURCE_ROLES] = {"primary", "standby"};
