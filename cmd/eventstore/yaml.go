package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"home.lab/event-store/ledger"
)

// applyYAML takes the keys of a store.yaml. It walks the syntax tree rather than decoding into a struct, so that
// every refusal has the key's full name and its line.
func (c *Config) applyYAML(file string, b []byte) error {
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return syntaxError(file, err)
	}
	seen := 0
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if seen++; seen > 1 {
			return at(file, doc.Body, "a second document; one is expected")
		}
		if err := c.applySections(file, doc.Body); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) applySections(file string, root ast.Node) error {
	sections, err := members(file, "", root)
	if err != nil {
		return err
	}
	for _, s := range sections {
		if s.name == "categories" {
			err = c.applyCategories(file, s)
		} else {
			err = c.applySection(file, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) applySection(file string, section member) error {
	if !knownSection(section.name) {
		return at(file, section.key, "%s: unknown key", section.name)
	}
	settings, err := members(file, section.name, section.value)
	if err != nil {
		return err
	}
	for _, m := range settings {
		name := section.name + "." + m.name
		if add := lists[name]; add != nil {
			if err := c.applyList(file, name, m.value, add); err != nil {
				return err
			}
			continue
		}
		k := findKey(name)
		if k == nil {
			return at(file, m.key, "%s: unknown key", name)
		}
		text, given, err := m.text(file, name)
		if err != nil {
			return err
		}
		if !given {
			continue
		}
		if err := k.set(c, text); err != nil {
			return at(file, m.value, "%s: %w", name, err)
		}
	}
	return nil
}

func knownSection(name string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k.name, name+".") {
			return true
		}
	}
	return name == "auth"
}

// lists are the keys whose value is a list of mappings, and how one of them is taken.
var lists = map[string]func(c *Config, e entry) error{
	"auth.tokens": (*Config).addToken,
	"nats.users":  (*Config).addUser,
}

// An entry is one mapping of a list.
type entry struct {
	file, name string // name: of the list
	node       ast.Node
	members    []member
}

func (c *Config) applyList(file, name string, node ast.Node, add func(*Config, entry) error) error {
	if _, empty := node.(*ast.NullNode); empty {
		return nil
	}
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return at(file, node, "%s: a list expected", name)
	}
	for _, n := range list.Values {
		all, err := members(file, name, n)
		if err != nil {
			return err
		}
		if err := add(c, entry{file, name, n, all}); err != nil {
			return err
		}
	}
	return nil
}

// take gives the texts of the entry's members to set, and names the line of one that it refuses.
func (e entry) take(set func(member string, texts []string) error) error {
	for _, m := range e.members {
		name := e.name + "." + m.name
		texts, err := m.texts(e.file, name)
		if err != nil {
			return err
		}
		if err := set(m.name, texts); err != nil {
			return at(e.file, m.key, "%s: %w", name, err)
		}
	}
	return nil
}

// refuse is the error about the entry as a whole.
func (e entry) refuse(format string, args ...any) error {
	return at(e.file, e.node, e.name+": "+format, args...)
}

// texts returns a plain value, or each of a list of them.
func (m member) texts(file, name string) ([]string, error) {
	list, ok := m.value.(*ast.SequenceNode)
	if !ok {
		text, given, err := m.text(file, name)
		if err != nil || !given {
			return nil, err
		}
		return []string{text}, nil
	}
	var all []string
	for _, n := range list.Values {
		text, _, err := member{value: n}.text(file, name)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

var categoryName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// applyCategories adds categories and replaces what is given of a default's settings.
func (c *Config) applyCategories(file string, section member) error {
	categories, err := members(file, section.name, section.value)
	if err != nil {
		return err
	}
	for _, m := range categories {
		name := "categories." + m.name
		if m.name == "ledger" {
			return at(file, m.key, "%s: reserved for the store's own events", name)
		}
		if !categoryName.MatchString(m.name) {
			return at(file, m.key, "%s: a name begins with a-z and has at most 32 of a-z, 0-9, _ and -", name)
		}
		policy, known := c.Categories[m.name]
		retained, err := applyPolicy(file, name, m.value, &policy)
		if err != nil {
			return err
		}
		if !known && !retained {
			return at(file, m.key, "%s.retention: missing; a new category needs one, as 30d or forever", name)
		}
		c.Categories[m.name] = policy
	}
	return nil
}

// applyPolicy reports whether a retention was given.
func applyPolicy(file, name string, node ast.Node, p *ledger.Policy) (retained bool, err error) {
	settings, err := members(file, name, node)
	if err != nil {
		return false, err
	}
	for _, m := range settings {
		name := name + "." + m.name
		if m.name != "description" && m.name != "retention" {
			return false, at(file, m.key, "%s: unknown key", name)
		}
		text, given, err := m.text(file, name)
		if err != nil {
			return false, err
		}
		switch {
		case !given:
		case m.name == "description":
			p.Description = text
		default:
			if p.Retention, err = parseDuration(text); err != nil {
				return false, at(file, m.value, "%s: %w", name, err)
			}
			if p.Retention%time.Second != 0 {
				return false, at(file, m.value, "%s: %q: must be whole seconds", name, text)
			}
			retained = true
		}
	}
	return retained, nil
}

// A member is one `key: value` of a YAML mapping.
type member struct {
	name       string
	key, value ast.Node
}

// members returns the members of a mapping in the file's order; an empty value has none.
func members(file, name string, node ast.Node) ([]member, error) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode, *ast.CommentGroupNode:
		return nil, nil
	default:
		if name == "" {
			return nil, at(file, node, "keys expected")
		}
		return nil, at(file, node, "%s: keys expected below it", name)
	}
	var all []member
	for _, v := range values {
		scalar, ok := v.Key.(ast.ScalarNode)
		if !ok {
			return nil, at(file, v.Key, "%s: unknown key", strings.TrimSpace(v.Key.String()))
		}
		all = append(all, member{fmt.Sprint(scalar.GetValue()), v.Key, v.Value})
	}
	return all, nil
}

// text returns a plain value as it is written, and whether there is one.
func (m member) text(file, name string) (string, bool, error) {
	switch n := m.value.(type) {
	case *ast.NullNode:
		return "", false, nil
	case *ast.StringNode:
		return n.Value, n.Value != "", nil
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true, nil
	}
	return "", false, at(file, m.value, "%s: a plain value expected", name)
}

// at returns an error with the place in the file in front: `store.yaml:3: …`.
func at(file string, node ast.Node, format string, args ...any) error {
	line := 0
	if t := node.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	return fmt.Errorf("%s:%d: %w", file, line, fmt.Errorf(format, args...))
}

func syntaxError(file string, err error) error {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", file, e.GetToken().Position.Line, e.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}
