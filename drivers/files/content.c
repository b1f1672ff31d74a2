/* Contents are a flat list of texts and values, or a JSON body. */
#include "drivers/files/content.h"

struct content_part {
	const char *text; /* NULL: a value */
	size_t len;
	int slot;
};

static bool compile_text(struct content *out, const struct node *n, struct action_env *env)
{
	struct template t;
	bool good = true;

	if (!template_parse(&t, env->arena, n, env->diagnostics))
		return false;
	struct content_part *parts = arena_array(env->arena, t.count ? t.count : 1, sizeof(*parts));
	for (size_t i = 0; i < t.count; i++) {
		const struct template_piece *piece = &t.pieces[i];
		parts[i] = (struct content_part){.text = piece->text, .len = piece->len, .slot = -1};
		if (piece->text)
			continue;
		parts[i].slot = env->references->add(env->references, &piece->reference);
		good &= parts[i].slot >= 0;
	}
	out->parts = parts;
	out->count = t.count;
	return good;
}

bool content_compile(struct content *out, const struct node *n, struct action_env *env)
{
	*out = (struct content){.is_json = n->kind != NODE_STRING};
	return out->is_json ? body_compile(&out->json, n, env) : compile_text(out, n, env);
}

void content_fill(const struct content *c, const struct value *args, struct buf *out)
{
	if (c->is_json) {
		body_fill(&c->json, args, out);
		buf_char(out, '\n');
		return;
	}
	for (size_t i = 0; i < c->count; i++) {
		const struct content_part *part = &c->parts[i];
		if (part->text)
			buf_append(out, part->text, part->len);
		else if (c->count == 1 && args[part->slot].kind == VALUE_BYTES)
			buf_append(out, args[part->slot].bytes,
				   args[part->slot].len); /* as they are: no text of them */
		else
			value_text(&args[part->slot], out);
	}
}
