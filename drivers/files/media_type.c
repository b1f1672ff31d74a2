/* Endings and media types (IANA's registry). */
#include "drivers/files/media_type.h"

#include <string.h>
#include <strings.h>

#include "base/compiler.h"

#define TEXT "; charset=utf-8"

static const struct {
	const char *ending, *type;
} types[] = {
	{"7z", "application/x-7z-compressed"},
	{"aac", "audio/aac"},
	{"avif", "image/avif"},
	{"avi", "video/x-msvideo"},
	{"bin", "application/octet-stream"},
	{"bmp", "image/bmp"},
	{"bz2", "application/x-bzip2"},
	{"c", "text/plain" TEXT},
	{"cer", "application/pkix-cert"},
	{"conf", "text/plain" TEXT},
	{"css", "text/css" TEXT},
	{"csv", "text/csv" TEXT},
	{"doc", "application/msword"},
	{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
	{"eot", "application/vnd.ms-fontobject"},
	{"epub", "application/epub+zip"},
	{"flac", "audio/flac"},
	{"geojson", "application/geo+json"},
	{"gif", "image/gif"},
	{"gz", "application/gzip"},
	{"h", "text/plain" TEXT},
	{"htm", "text/html" TEXT},
	{"html", "text/html" TEXT},
	{"ico", "image/vnd.microsoft.icon"},
	{"ics", "text/calendar" TEXT},
	{"jpeg", "image/jpeg"},
	{"jpg", "image/jpeg"},
	{"js", "text/javascript" TEXT},
	{"json", "application/json"},
	{"jsonl", "application/jsonl"},
	{"jsonld", "application/ld+json"},
	{"jxl", "image/jxl"},
	{"log", "text/plain" TEXT},
	{"m4a", "audio/mp4"},
	{"map", "application/json"},
	{"md", "text/markdown" TEXT},
	{"mjs", "text/javascript" TEXT},
	{"mkv", "video/matroska"},
	{"mov", "video/quicktime"},
	{"mp3", "audio/mpeg"},
	{"mp4", "video/mp4"},
	{"mpeg", "video/mpeg"},
	{"ndjson", "application/x-ndjson"},
	{"odp", "application/vnd.oasis.opendocument.presentation"},
	{"ods", "application/vnd.oasis.opendocument.spreadsheet"},
	{"odt", "application/vnd.oasis.opendocument.text"},
	{"oga", "audio/ogg"},
	{"ogg", "audio/ogg"},
	{"ogv", "video/ogg"},
	{"opus", "audio/ogg"},
	{"otf", "font/otf"},
	{"pdf", "application/pdf"},
	{"pem", "application/x-pem-file"},
	{"png", "image/png"},
	{"ppt", "application/vnd.ms-powerpoint"},
	{"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
	{"ps", "application/postscript"},
	{"py", "text/x-python" TEXT},
	{"rss", "application/rss+xml"},
	{"rtf", "application/rtf"},
	{"sql", "application/sql"},
	{"svg", "image/svg+xml"},
	{"tab", "text/tab-separated-values" TEXT},
	{"tar", "application/x-tar"},
	{"tgz", "application/gzip"},
	{"tif", "image/tiff"},
	{"tiff", "image/tiff"},
	{"toml", "application/toml"},
	{"tsv", "text/tab-separated-values" TEXT},
	{"ttf", "font/ttf"},
	{"txt", "text/plain" TEXT},
	{"vtt", "text/vtt" TEXT},
	{"wasm", "application/wasm"},
	{"wav", "audio/wav"},
	{"weba", "audio/webm"},
	{"webm", "video/webm"},
	{"webmanifest", "application/manifest+json"},
	{"webp", "image/webp"},
	{"woff", "font/woff"},
	{"woff2", "font/woff2"},
	{"xhtml", "application/xhtml+xml"},
	{"xls", "application/vnd.ms-excel"},
	{"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	{"xml", "application/xml"},
	{"xz", "application/x-xz"},
	{"yaml", "application/yaml"},
	{"yml", "application/yaml"},
	{"zip", "application/zip"},
	{"zst", "application/zstd"},
};

const char *media_type_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < ARRAY_SIZE(types); i++) {
		if (strcasecmp(types[i].ending, dot + 1) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}
