#include "CSimdJSON.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <simdjson.h>
#include <string>
#include <vector>

namespace {
// One less than what the strict parser allows: at the limit that one decides.
constexpr size_t max_depth = 199;
constexpr size_t first_capacity = 1 << 14;
constexpr uintptr_t page = 4096;

struct node {
    std::string name;
    std::vector<int32_t> children;
};
} // namespace

struct csimdjson_scanner {
    simdjson::dom::parser parser;
    std::vector<node> nodes;
    std::vector<int32_t> roots;

    bool look(simdjson::dom::object object, const std::vector<int32_t> &wanted, csimdjson_field *fields);
    bool take(simdjson::dom::element value, int32_t index, csimdjson_field *fields);
};

bool csimdjson_scanner::look(simdjson::dom::object object, const std::vector<int32_t> &wanted, csimdjson_field *fields) {
    for (auto field : object) {
        for (int32_t index : wanted) {
            const std::string &name = nodes[size_t(index)].name;
            // Most names differ in their length or their first letter.
            if (field.key.size() != name.size() || (!name.empty() && field.key[0] != name[0]) ||
                std::memcmp(field.key.data(), name.data(), name.size()) != 0)
                continue;
            // Of a field that stands there twice the last one counts, with all that is in it.
            if (fields[index].kind != CSIMDJSON_ABSENT || !take(field.value, index, fields))
                return false;
            break;
        }
    }
    return true;
}

bool csimdjson_scanner::take(simdjson::dom::element value, int32_t index, csimdjson_field *fields) {
    csimdjson_field &field = fields[index];
    switch (value.type()) {
    case simdjson::dom::element_type::NULL_VALUE: field.kind = CSIMDJSON_NULL; return true;
    case simdjson::dom::element_type::BOOL:
        field.kind = CSIMDJSON_BOOL;
        field.integer = bool(value.get_bool().value_unsafe());
        return true;
    case simdjson::dom::element_type::INT64:
        field.kind = CSIMDJSON_INTEGER;
        field.integer = value.get_int64().value_unsafe();
        return true;
    case simdjson::dom::element_type::STRING: {
        std::string_view text = value.get_string().value_unsafe();
        field.kind = CSIMDJSON_TEXT;
        field.text = text.data();
        field.length = text.size();
        return true;
    }
    case simdjson::dom::element_type::ARRAY: field.kind = CSIMDJSON_LIST; return true;
    case simdjson::dom::element_type::OBJECT: {
        field.kind = CSIMDJSON_OBJECT;
        const auto &children = nodes[size_t(index)].children;
        return children.empty() || look(value.get_object().value_unsafe(), children, fields);
    }
    default: field.kind = CSIMDJSON_OTHER; return true;
    }
}

csimdjson_scanner *csimdjson_new(size_t count, const int32_t *parents, const char *const *names, const size_t *lengths) {
    try {
        auto scanner = std::make_unique<csimdjson_scanner>();
        scanner->nodes.resize(count);
        for (size_t index = 0; index < count; index++) {
            scanner->nodes[index].name.assign(names[index], lengths[index]);
            auto &siblings = parents[index] < 0 ? scanner->roots : scanner->nodes[size_t(parents[index])].children;
            siblings.push_back(int32_t(index));
        }
        if (scanner->parser.allocate(first_capacity, max_depth) != simdjson::SUCCESS)
            return nullptr;
        return scanner.release();
    } catch (...) {
        return nullptr;
    }
}

void csimdjson_free(csimdjson_scanner *scanner) { delete scanner; }

int csimdjson_scan(csimdjson_scanner *scanner, const uint8_t *bytes, size_t length, csimdjson_field *fields) {
    std::memset(fields, 0, scanner->nodes.size() * sizeof(*fields));
    simdjson::dom::element root;
    simdjson::dom::object object;
    // simdjson looks at some bytes behind the text. Where they lie on the text's last page they can be read, and it need not be copied.
    bool needs_copy = length == 0 || (uintptr_t(bytes + length - 1) & (page - 1)) + 1 + simdjson::SIMDJSON_PADDING > page;
    if (scanner->parser.parse(bytes, length, needs_copy).get(root) != simdjson::SUCCESS || root.get_object().get(object) != simdjson::SUCCESS)
        return 1;
    return scanner->look(object, scanner->roots, fields) ? 0 : 1;
}
