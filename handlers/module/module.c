/* Loading modules, and saying why one can't be. */
#include "handlers/module/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
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

/* A shared object that was loaded; never freed. */
struct file {
	struct list link;
	struct module module;
	struct stat st; /* when it was loaded */
	bool sound;     /* it is a module */
};

/* All of the process, in the order of their loading. */
static struct list files = {&files, &files};

static bool is_unchanged(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct file *find_loaded(const struct stat *st)
{
	list_for_each (link, &files) {
		struct file *f = container_of(link, struct file, link);
		if (f->st.st_dev == st->st_dev && f->st.st_ino == st->st_ino)
			return f;
	}
	return NULL;
}

static unsigned loads_of(const char *path)
{
	unsigned count = 0;
	list_for_each (link, &files)
		count += strcmp(container_of(link, struct file, link)->module.path, path) == 0;
	return count;
}

/* The dynamic linker takes a path that it knows for the object that it has loaded by it, whatever stands there now. So
 * each time the path is another one: /a/x.so, /a/./x.so, /a/././x.so. */
static void *open_object(const char *path, unsigned times)
{
	struct buf name = BUF_INIT;
	const char *slash = strrchr(path, '/');
	buf_append(&name, path, (size_t)(slash + 1 - path));
	while (times-- > 0)
		buf_lit(&name, "./");
	buf_str(&name, slash + 1);
	void *handle = dlopen(buf_cstr(&name), RTLD_NOW | RTLD_LOCAL);
	buf_done(&name);
	return handle;
}

static struct file *load_file(const struct config_module *config, const struct stat *st, struct diagnostics *d)
{
	unsigned times = loads_of(config->path);
	if (times == MODULE_LOADS) {
		diagnostics_error(d, config->at,
				  "%s was loaded %d times since the start: restart the daemon for this one",
				  shown(config), MODULE_LOADS);
		return NULL;
	}
	void *handle = open_object(config->path, times);
	if (!handle) {
		diagnostics_error(d, config->at, "the module can't be loaded: %s",
				  config->expanded ? "its path is from the environment" : dlerror());
		return NULL;
	}
	struct file *f = mem_zalloc(sizeof(*f));
	f->module = (struct module){.path = mem_strdup(config->path), .handle = handle};
	f->st = *st;
	f->sound = check_abi(handle, config, d);
	find_function(handle, "gd_module_start", &f->module.start);
	find_function(handle, "gd_module_stop", &f->module.stop);
	list_append(&files, &f->link);
	return f;
}

/* Returns NULL if it can't be used. */
static const struct module *load(const struct config_module *config, struct diagnostics *d)
{
	struct stat st = {0};
	/* Of one that is not there the dynamic linker says what is wrong. */
	struct file *f = stat(config->path, &st) == 0 ? find_loaded(&st) : NULL;
	if (!f) {
		f = load_file(config, &st, d);
	} else if (!is_unchanged(&f->st, &st)) {
		diagnostics_error(d, config->at,
				  "%s was written in place while it is loaded: install or mv the new file there",
				  shown(config));
		return NULL;
	} else if (!f->sound) {
		f->sound = check_abi(f->module.handle, config, d);
	}
	return f && f->sound ? &f->module : NULL;
}

/* The same file by two names is one module. */
static void add(struct modules *m, const struct module *module)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->items[i] == module)
			return;
	m->items[m->count++] = module;
}

static void find_handler(const struct module *module, const struct config_module *from, struct handler *h,
			 struct diagnostics *d)
{
	const struct config_handler *config = &h->endpoint->handler;
	find_function(module->handle, config->function, &h->fn);
	if (h->fn)
		return;
	const char *nearest = nearest_function(module->handle, config->function, &d->arena);
	diagnostics_error(d, config->at, "%s has no function \"%s\"%s%s%s", shown(from), config->function,
			  nearest ? ": did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

void modules_load(struct modules *m, struct handler **handlers, const struct config *c, struct arena *a,
		  struct diagnostics *d)
{
	const struct module **of = arena_array(a, c->module_count + 1, sizeof(struct module *));
	static bool guarded;
	m->items = arena_array(a, c->module_count + 1, sizeof(*m->items));
	m->count = 0;
	if (c->module_count > 0 && !guarded)
		guarded = atexit(end_by_module) == 0; /* where there is no room for it exit() is what it was */
	*handlers = arena_array(a, c->endpoint_count + 1, sizeof(**handlers));
	for (size_t i = 0; i < c->module_count; i++)
		if ((of[i] = load(&c->modules[i], d)))
			add(m, of[i]);
	for (size_t i = 0; i < c->endpoint_count; i++) {
		struct handler *h = &(*handlers)[i];
		*h = (struct handler){.endpoint = &c->endpoints[i]};
		h->rate_identity = rate_identity(h->endpoint->name, &h->endpoint->rate);
		if (h->endpoint->handler.function && of[h->endpoint->handler.module])
			find_handler(of[h->endpoint->handler.module], &c->modules[h->endpoint->handler.module], h, d);
	}
}
