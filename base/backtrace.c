/* Back-traces: libgcc's unwinder takes them, elfutils names them. */
#include "base/backtrace.h"

#include <dlfcn.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include "base/ascii.h"

/* --- taking --- */

struct walk {
	struct backtrace *out;
	bool found; /* the frame to begin with: what lies before it belongs to the taker */
	bool in_handler;
	unsigned skip;
};

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	int before = 0;
	uintptr_t ip = _Unwind_GetIPInfo(context, &before);

	if (ip == 0 || w->out->count == BACKTRACE_MAX)
		return _URC_END_OF_STACK;
	/* The frame that a signal interrupted is the one whose address is not a return address. */
	if (!w->found)
		w->found = w->in_handler ? before != 0 : w->skip-- == 0;
	if (w->found)
		w->out->at[w->out->count++] = before ? ip : ip - 1;
	return _URC_NO_REASON;
}

__attribute__((noinline, no_sanitize("address", "thread", "undefined"))) void backtrace_take(struct backtrace *b,
											     bool in_handler)
{
	struct walk w = {.out = b, .in_handler = in_handler, .skip = 2};
	b->count = 0;
	_Unwind_Backtrace(step, &w);
}

void backtrace_init(void)
{
	struct backtrace b;
	backtrace_take(&b, false);
}

/* --- naming --- */

static struct {
	pthread_mutex_t lock;
	Dwfl *session;            /* under lock; NULL until the first name is asked for */
	unsigned long long loads; /* under lock: dlopens and dlcloses that the session has seen */
} names = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Debugging information is looked for on this machine only, whatever DEBUGINFOD_URLS says: the default call would ask
 * the network for it. */
static int find_debuginfo(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base, const char *file,
			  const char *link, GElf_Word crc, char **found)
{
	(void)file, (void)link, (void)crc;
	return dwfl_build_id_find_debuginfo(module, userdata, name, base, file, link, crc, found);
}

/* What the linker has numbered that build with, as it lies in memory. NULL: nothing. */
static const void *loaded_build(const struct dl_phdr_info *info, size_t *len)
{
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		const char *at = (const char *)(info->dlpi_addr + segment->p_vaddr);
		const char *end = at + (segment->p_type == PT_NOTE ? segment->p_memsz : 0);
		while (end - at > (ptrdiff_t)sizeof(ElfW(Nhdr))) {
			const ElfW(Nhdr) *note = (const void *)at;
			const char *name = at + sizeof(*note);
			const char *text = name + ((note->n_namesz + 3) & ~3u);
			*len = note->n_descsz;
			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0)
				return text;
			at = text + ((note->n_descsz + 3) & ~3u);
		}
	}
	return NULL;
}

/* Is that file what was loaded, and not what has replaced it since? */
static bool is_what_runs(int fd, const struct dl_phdr_info *info)
{
	size_t len = 0;
	const void *in_memory = loaded_build(info, &len), *in_file = NULL;
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	bool same = elf && (!in_memory || (dwelf_elf_gnu_build_id(elf, &in_file) == (ssize_t)len &&
					   memcmp(in_file, in_memory, len) == 0));
	elf_end(elf);
	return same;
}

/* Report one object that the dynamic linker has loaded. */
static int report_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	Dwfl *session = arg;
	const char *file = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
	(void)size;
	if (!strchr(file, '/')) /* it is the kernel's */
		return 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	/* The session closes what it keeps. */
	if (fd >= 0 && (!is_what_runs(fd, info) || !dwfl_report_elf(session, file, file, fd, info->dlpi_addr, false)))
		close(fd);
	return 0;
}

static int count_loads(struct dl_phdr_info *info, size_t size, void *arg)
{
	unsigned long long *loads = arg;
	(void)size;
	*loads = info->dlpi_adds + info->dlpi_subs;
	return 1; /* the same in each */
}

/* The session knows what is loaded now. */
static void refresh(void)
{
	static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_build_id_find_elf, .find_debuginfo = find_debuginfo};
	unsigned long long loads = 0;
	dl_iterate_phdr(count_loads, &loads);
	if (names.session && loads == names.loads)
		return;
	if (names.session)
		dwfl_end(names.session);
	names.loads = loads;
	names.session = dwfl_begin(&callbacks);
	if (!names.session)
		return;
	elf_version(EV_CURRENT);
	dwfl_report_begin(names.session);
	dl_iterate_phdr(report_object, names.session);
	dwfl_report_end(names.session, NULL, NULL);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void render_line(struct buf *out, Dwfl_Module *module, uintptr_t at)
{
	int line = 0;
	Dwfl_Line *found = dwfl_module_getsrc(module, at);
	const char *file = found ? dwfl_lineinfo(found, NULL, &line, NULL, NULL, NULL) : NULL;
	if (file)
		buf_printf(out, " (%s:%d)", base_name(file), line);
}

static void render_place(struct buf *out, uintptr_t at)
{
	char place[256];
	buf_append(out, place, backtrace_place(place, sizeof(place), at));
}

static void render_one(struct buf *out, uintptr_t at)
{
	Dwfl_Module *module = names.session ? dwfl_addrmodule(names.session, at) : NULL;
	GElf_Off offset = 0;
	GElf_Sym symbol;
	const char *name = module ? dwfl_module_addrinfo(module, at, &offset, &symbol, NULL, NULL, NULL) : NULL;
	/* Behind the end of the nearest symbol lies a function that has none. */
	if (!name || (symbol.st_size > 0 && offset >= symbol.st_size)) {
		render_place(out, at);
		return;
	}
	buf_printf(out, "%s+0x%lx", name, (unsigned long)offset);
	render_line(out, module, at);
}

void backtrace_render(struct buf *out, const struct backtrace *b)
{
	pthread_mutex_lock(&names.lock);
	refresh();
	for (unsigned i = 0; i < b->count; i++) {
		if (i > 0)
			buf_lit(out, " < ");
		render_one(out, b->at[i]);
	}
	pthread_mutex_unlock(&names.lock);
}

void backtrace_done(void)
{
	pthread_mutex_lock(&names.lock);
	if (names.session)
		dwfl_end(names.session);
	names.session = NULL;
	pthread_mutex_unlock(&names.lock);
}

/* --- without names --- */

static size_t put(char *out, size_t size, size_t len, const char *text)
{
	while (*text && len < size)
		out[len++] = *text++;
	return len;
}

static size_t put_hex(char *out, size_t size, size_t len, uintptr_t n)
{
	char digits[2 * sizeof(n) + 1];
	size_t at = sizeof(digits) - 1;
	digits[at] = '\0';
	do {
		digits[--at] = ascii_hex_digit(n);
		n >>= 4;
	} while (n);
	return put(out, size, put(out, size, len, "0x"), digits + at);
}

size_t backtrace_place(char *out, size_t size, uintptr_t at)
{
	struct dl_find_object object;
	size_t len = 0;
	/* dladdr would take the dynamic linker's lock. */
	if (_dl_find_object((void *)at, &object) == 0) {
		const char *file = object.dlfo_link_map->l_name;
		len = put(out, size, len, *file ? base_name(file) : "gatherd");
		len = put(out, size, len, "+");
		at -= object.dlfo_link_map->l_addr;
	}
	return put_hex(out, size, len, at);
}
