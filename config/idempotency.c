/* idempotency: where keys and replies are kept, and whether the endpoint can have it. */
#include <string.h>

#include "config/language.h"

void decode_idempotency(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	const struct config_idempotency **out = (const struct config_idempotency **)(void *)((char *)object +
											     k->offset);
	struct idempotency_words *words = arena_zalloc(dc->arena, sizeof(*words));

	decode_section(dc, &section_idempotency, k->name, n, words);
	*out = &words->idempotency;
	const struct node *store = words->store ? node_member(n, "store") : NULL;
	if (!store)
		return; /* reported */
	words->idempotency.store = decode_source_name(dc, store);
	if (words->idempotency.store && strcmp(words->idempotency.store->kind->name, "postgres") != 0)
		decode_error(dc, store->at, "store: \"%s\" is not a postgres source", words->store);
}

void check_idempotency(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e)
{
	if (!e->idempotency)
		return;
	if (e->method == METHOD_GET)
		decode_report(dc, mapping, "idempotency", "a GET endpoint may be asked again as it is");
	else if (e->handler.function)
		decode_report(dc, mapping, "idempotency", "not beside \"handler\": the function makes the reply");
	else if (e->step_count == 0)
		decode_report(dc, mapping, "idempotency", "there is no step that could do anything twice");
}
