/* The list of drivers. A new one is a line in it, and one in DRIVERS. */
#include "drivers/drivers.h"

#include <assert.h>

#include "drivers/files/driver.h"
#include "drivers/files/keys.h"
#include "drivers/http/driver.h"
#include "drivers/http/keys.h"
#include "drivers/mongo/driver.h"
#include "drivers/mongo/keys.h"
#include "drivers/postgres/driver.h"
#include "drivers/postgres/keys.h"

/* In the order in which messages and the JSON Schema name them. */
#define DRIVERS(X)   X(postgres) X(mongo) X(http) X(files)

#define DRIVER(name) &name##_driver,
#define KIND(name)   &name##_kind,
static const struct driver *const drivers[] = {DRIVERS(DRIVER)};
static const struct source_kind *const kinds[] = {DRIVERS(KIND)};

const struct language drivers_language = {.kinds = kinds, .kind_count = ARRAY_SIZE(kinds)};

const struct driver *driver_of(const struct config_source *source)
{
	size_t i = 0;
	while (kinds[i] != source->kind) {
		i++;
		assert(i < ARRAY_SIZE(kinds));
	}
	return drivers[i];
}
