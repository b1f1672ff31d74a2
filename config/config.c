/* From a file to a configuration: read, parse, decode by the tables, and check what goes across sections. */
#include "config/config.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <fcntl.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/language.h"
#include "config/yaml.h"

/* --- across sections ------------------------------------------------------------------------------------------- */

/* How long a call within an endpoint's budget may take, own_us: its own time-out or 0. */
static int64_t call_longest_us(const struct config *c, const struct config_endpoint *e, int64_t own_us)
{
	int64_t budget = e->timeout_us ? e->timeout_us : c->server.request_timeout_us;
	return own_us && own_us < budget ? own_us : budget;
}

/* The longest call of this source that e may make. A handler may call any source. */
static int64_t endpoint_longest_us(const struct config *c, const struct config_endpoint *e,
				   const struct config_source *source)
{
	int64_t longest_us = e->handler.function ? call_longest_us(c, e, source->timeout_us) : 0;
	for (size_t i = 0; i < e->step_count; i++) {
		const struct config_step *s = &e->steps[i];
		int64_t us = call_longest_us(c, e, s->timeout_us ? s->timeout_us : source->timeout_us);
		if (s->source == source && us > longest_us)
			longest_us = us;
	}
	return longest_us;
}

static void set_longest(struct config *c)
{
	for (size_t i = 0; i < c->source_count; i++) {
		struct config_source *source = &c->sources[i];
		/* What has no endpoint's budget: the background tasks of modules. */
		int64_t own_us = source->timeout_us ? source->timeout_us : c->server.request_timeout_us;
		for (size_t j = 0; j < c->endpoint_count; j++) {
			int64_t us = endpoint_longest_us(c, &c->endpoints[j], source);
			if (us > source->longest_us)
				source->longest_us = us;
		}
		if (source->longest_us == 0 || (c->module_count > 0 && own_us > source->longest_us))
			source->longest_us = own_us;
	}
}

void check_root(struct decoder *dc, const struct node *mapping, void *object)
{
	(void)mapping;
	check_semaphores(dc, object);
	check_schemas(dc);
	set_longest(object);
}

/* --- loading --------------------------------------------------------------------------------------------------- */

static void *pattern_alloc(size_t size, void *arena)
{
	return arena_alloc(arena, size);
}

static void pattern_free(void *p, void *arena)
{
	(void)p, (void)arena; /* it goes with the arena */
}

struct config *config_load_text(const char *name, const char *text, size_t len, const struct language *l,
				struct diagnostics *d)
{
	struct config *c = mem_zalloc(sizeof(*c));

	arena_init(&c->arena);
	struct decoder dc = {
		.config = c,
		.language = l,
		.arena = &c->arena,
		.diagnostics = d,
		.pattern_context = pcre2_general_context_create(pattern_alloc, pattern_free, &c->arena),
	};
	const struct node *root = yaml_parse(&c->arena, arena_strdup(&c->arena, name), text, len, d);
	if (root && node_is_absent(root))
		diagnostics_error(d, root->at, "there is nothing in the file: expected a mapping with \"endpoints\"");
	else if (root)
		decode_section(&dc, &section_root, "the configuration", include_files(&dc, root), c);
	diagnostics_sort(d);
	if (root)
		return c;
	config_free(c);
	return NULL;
}

/* Read at most one byte more than a configuration may have. Returns 0 or -errno. */
static int read_all(const char *path, struct buf *out)
{
	int r = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (out->len <= YAML_MAX_SIZE) {
		buf_reserve(out, 65536);
		ssize_t n = read(fd, out->data + out->len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : 0;
			break;
		}
		out->len += (size_t)n;
	}
	close(fd);
	return r;
}

struct config *config_load(const char *path, const struct language *l, struct diagnostics *d)
{
	struct buf text = BUF_INIT;
	struct config *c = NULL;
	int r = read_all(path, &text);

	if (r < 0)
		diagnostics_error(d, (struct mark){.file = path}, "%s", strerror(-r));
	else
		c = config_load_text(path, text.data, text.len, l, d);
	buf_done(&text);
	return c;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	arena_done(&c->arena);
	free(c);
}
