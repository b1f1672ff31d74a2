/* Loading modules, and saying why one can't be. */
#include "handlers/module/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "handlers/web/rate.h"

/* --- the names of its functions, for whoever misspelt one --- */

/* How many dynamic symbols there are: the GNU hash table only knows where its longest chain ends. */
static size_t count_symbols(const uint32_t *hash)
{
	uint32_t buckets = hash[0], first = hash[1], bloom_words = hash[2], last = 0;
	const uint32_t *bucket = (const uint32_t *)(const void *)((const ElfW(Addr) *)(const void *)&hash[4] +
								  bloom_words);
	const uint32_t *chain = bucket + buckets;
	for (uint32_t i = 0; i < buckets; i++)
		last = bucket[i] > last ? bucket[i] : last;
	if (last < first)
		return first;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

struct dynamic {
	const ElfW(Sym) * symbols;
	const char *names;
	size_t count;
};

static struct dynamic dynamic_of(void *handle)
{
	struct dynamic dynamic = {0};
	struct link_map *map;
	const uint32_t *hash = NULL;
	if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
		return dynamic;
	for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
		const void *p = (const void *)entry->d_un.d_ptr; // NOLINT(performance-no-int-to-ptr)
		if (entry->d_tag == DT_SYMTAB)
			dynamic.symbols = p;
		else if (entry->d_tag == DT_STRTAB)
			dynamic.names = p;
		else if (entry->d_tag == DT_GNU_HASH)
			hash = p;
	}
	if (dynamic.symbols && dynamic.names && hash)
		dynamic.count = count_symbols(hash);
	return dynamic;
}

/* The exported function that is nearest to `name`, or NULL. */
static const char *nearest_function(void *handle, const char *name, struct arena *a)
{
	struct dynamic dynamic = dynamic_of(handle);
	const char **names = arena_array(a, dynamic.count + 1, sizeof(*names));
	size_t count = 0;
	for (size_t i = 0; i < dynamic.count; i++) {
		const ElfW(Sym) *symbol = &dynamic.symbols[i];
		const char *there = dynamic.names + symbol->st_name;
		if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF && *there != '_')
			names[count++] = there;
	}
	return nearest_name(name, names, count);
}

/* --- loading --- */

/* A function of the module's own: no data, and nothing of a library that it is linked with. */
static bool is_function_of(void *handle, const void *symbol)
{
	Dl_info info;
	struct link_map *map = NULL;
	const ElfW(Sym) *entry = NULL;
	if (!symbol || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 ||
	    !dladdr1(symbol, &info, (void **)(void *)&entry, RTLD_DL_SYMENT) || !entry)
		return false;
	return (uintptr_t)info.dli_fbase == map->l_addr && ELF64_ST_TYPE(entry->st_info) == STT_FUNC;
}

/* ISO C knows no way from an object's pointer to a function's; POSIX promises that it is one. */
static void find_function(void *handle, const char *name, void *place)
{
	void *symbol = dlsym(handle, name);
	if (!is_function_of(handle, symbol))
		symbol = NULL;
	memcpy(place, &symbol, sizeof(symbol));
}

static const char *shown(const struct config_module *config)
{
	return config->expanded ? "a file from the environment" : config->path;
}

/* Is it a module, and one of this ABI? */
static bool check_abi(void *handle, const struct config_module *config, struct diagnostics *d)
{
	const int *abi = dlsym(handle, "gatherd_module_abi");
	if (!abi)
		diagnostics_error(d, config->at, "%s is no module of gatherd: build it with gatherd.h", shown(config));
	else if (*abi != GATHERD_ABI)
		diagnostics_error(d, config->at,
				  "%s was built for ABI %d of gatherd, while this one has %d: build it with this one's "
				  "gatherd.h",
				  shown(config), *abi, GATHERD_ABI);
	return abi && *abi == GATHERD_ABI;
}

/* A module has called exit(): that is no end that anybody asked for. The main thread ends by itself. */
static void end_by_module(void)
{
	if (gettid() == getpid())
		return;
	log_line(LOG_LINE_ERROR, "a module called exit()", "thread=%d", gettid());
	log_stop();
	_exit(EX_SOFTWARE);
}

/* Returns NULL if it can't be used; the same file by two names is one module. */
static const struct module *load(struct modules *m, const struct config_module *config, struct diagnostics *d)
{
	void *handle = dlopen(config->path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		diagnostics_error(d, config->at, "the module can't be loaded: %s",
				  config->expanded ? "its path is from the environment" : dlerror());
		return NULL;
	}
	for (size_t i = 0; i < m->count; i++) {
		if (m->items[i].handle == handle)
			return &m->items[i];
	}
	if (!check_abi(handle, config, d))
		return NULL;
	struct module *loaded = &m->items[m->count++];
	*loaded = (struct module){.config = config, .handle = handle};
	find_function(handle, "gd_module_start", &loaded->start);
	find_function(handle, "gd_module_stop", &loaded->stop);
	return loaded;
}

static void find_handler(const struct module *module, struct handler *h, struct diagnostics *d)
{
	const struct config_handler *config = &h->endpoint->handler;
	find_function(module->handle, config->function, &h->fn);
	if (h->fn)
		return;
	const char *nearest = nearest_function(module->handle, config->function, &d->arena);
	diagnostics_error(d, config->at, "%s has no function \"%s\"%s%s%s", shown(module->config), config->function,
			  nearest ? ": did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

void modules_load(struct modules *m, struct handler **handlers, const struct config *c, struct arena *a,
		  struct diagnostics *d)
{
	const struct module **of = arena_array(a, c->module_count + 1, sizeof(struct module *));
	m->items = arena_array(a, c->module_count + 1, sizeof(*m->items));
	m->count = 0;
	if (c->module_count > 0)
		(void)atexit(end_by_module); /* where there is no room for it exit() is what it was */
	*handlers = arena_array(a, c->endpoint_count + 1, sizeof(**handlers));
	for (size_t i = 0; i < c->module_count; i++)
		of[i] = load(m, &c->modules[i], d);
	for (size_t i = 0; i < c->endpoint_count; i++) {
		struct handler *h = &(*handlers)[i];
		*h = (struct handler){.endpoint = &c->endpoints[i]};
		h->rate_identity = rate_identity(h->endpoint->name, &h->endpoint->rate);
		if (h->endpoint->handler.function && of[h->endpoint->handler.module])
			find_handler(of[h->endpoint->handler.module], h, d);
	}
}
