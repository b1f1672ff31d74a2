/* The versions of gatherd and of the libraries that it runs with. */
#pragma once

struct library_version {
	const char *name, *version;
};

/* gatherd is the first, as "version". The text lives until the next call. */
extern const unsigned library_count;
struct library_version library_version(unsigned i);
