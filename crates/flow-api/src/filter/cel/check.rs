//! From text to what can be run, with every name and type looked at.

use super::operation::{self, Operation, Part};
use super::value::{self, Value};
use super::{pattern, zone};
use crate::pool;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::parser::PrattParser;
use jiff::tz::TimeZone;
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use regex::Regex;
use std::fmt;
use std::sync::Arc;

/// What a value is, as far as it can be told beforehand.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// It is looked at when it is there.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Duration,
    /// What `type()` tells.
    Kind,
    Message(MessageDescriptor),
    List(Box<Type>),
    /// Of its keys, and of what they stand for.
    Map(Box<Type>, Box<Type>),
}

/// A step of an expression.
#[derive(Debug)]
pub enum Node {
    Value(Value<'static>),
    Text(String),
    Flow,
    /// Of the lists that are gone through, the outermost first.
    Local(usize),
    Field(Box<Node>, FieldDescriptor),
    Has(Box<Node>, FieldDescriptor),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    /// Whether it is anything but false, an error too.
    NotFalse(Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// `type()`; of messages it is known beforehand, for one that is not there has none.
    Kind(Box<Node>, Option<Arc<str>>),
    /// Of a time, as a clock there has it.
    Part(Part, Box<Node>, TimeZone),
    /// With the steps that sixteen bytes of text cost.
    Matches(Box<Node>, Regex, u32),
    Call(Operation, Vec<Node>),
    Fold(Box<Fold>),
}

/// Going through a list: `all`, `exists`, `exists_one`, `map`, `filter`.
#[derive(Debug)]
pub struct Fold {
    pub range: Node,
    pub first: Node,
    pub goes_on: Node,
    pub step: Node,
    pub result: Node,
}

/// An expression, ready to be asked.
pub struct Checked {
    pub node: Node,
    /// Fields of `flow.Flow` that it looks at.
    pub paths: Vec<String>,
}

/// Reads an expression.
///
/// # Errors
/// What is wrong, and where: a place for what is no CEL, otherwise the words that are wrong.
pub fn check(text: &str) -> Result<Checked, String> {
    if methods(text) > MOST_METHODS {
        return Err(format!("more than {MOST_METHODS} calls of methods"));
    }
    // The parser's bounds miss some ways to nest (signs by turns, conditions in conditions), and it copies and drops what it has read
    // by going down into it: on a stack that the longest text can't fill. What is checked nests no deeper than `MOST_DEPTH`.
    let of_its_own = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK);
    std::thread::scope(|scope| match of_its_own.spawn_scoped(scope, || read(text)) {
        Ok(reading) => reading.join().unwrap_or_else(|_| Err("it can't be read".to_owned())),
        Err(error) => Err(format!("no thread to read it on: {error}")),
    })
}

/// Calls of the form `x.f(…)`: for each of them the parser copies its `x`.
fn methods(text: &str) -> usize {
    let is_method = |(at, _): &(usize, &str)| {
        let name = text[..*at].trim_end().trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        name.trim_end().ends_with('.')
    };
    text.match_indices('(').filter(is_method).count()
}

fn read(text: &str) -> Result<Checked, String> {
    // This one of the crate's two parsers for its bounds: it counts what nests, and nodes.
    let parser = PrattParser::new().max_recursion_depth(MOST_NESTED).max_expression_node_count(MOST_NODES);
    let expression = parser.parse(text).map_err(|errors| match errors.errors.first() {
        Some(first) => format!("line {}, column {}: {}", first.pos.0, first.pos.1, first.msg),
        None => "no expression".to_owned(),
    })?;
    let mut check = Check { locals: Vec::new(), paths: Vec::new(), depth: 0, patterns: 0 };
    let (node, kind) = check.node(&expression)?;
    if !kind.may_be(&Type::Bool) {
        return Err(format!("is {kind}, which is neither true nor false"));
    }
    Ok(Checked { node, paths: check.paths })
}

struct Check {
    locals: Vec<(String, Type)>,
    paths: Vec<String>,
    depth: usize,
    patterns: usize,
}

/// With the path from `_flow`, where it is nothing but that.
type Selected = (Node, Type, Option<String>);

impl Check {
    fn node(&mut self, expression: &IdedExpr) -> Result<(Node, Type), String> {
        let (node, kind, path) = self.selected(expression)?;
        match (path, &kind) {
            (Some(path), _) if !path.is_empty() => self.paths.push(path),
            // The whole flow.
            (Some(_), Type::Message(flow)) => self.paths.extend(flow.fields().map(|field| field.name().to_owned())),
            _ => {}
        }
        Ok((node, kind))
    }

    fn selected(&mut self, expression: &IdedExpr) -> Result<Selected, String> {
        if self.depth >= MOST_DEPTH {
            return Err(format!("nests deeper than {MOST_DEPTH}"));
        }
        self.depth += 1;
        let selected = self.any(&expression.expr);
        self.depth -= 1;
        selected
    }

    fn any(&mut self, expression: &Expr) -> Result<Selected, String> {
        let (node, kind) = match expression {
            Expr::Ident(name) => return self.name(name),
            Expr::Select(select) => return self.select(select),
            Expr::Literal(literal) => constant(literal)?,
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.node(item)).collect::<Result<Vec<_>, _>>()?;
                let (nodes, kinds): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                let kind = kinds.into_iter().reduce(|a, b| a.join(&b)).unwrap_or(Type::Any);
                (Node::List(nodes), Type::List(Box::new(kind)))
            }
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(fold) => self.fold(fold)?,
            Expr::Map(map) => self.map(&map.entries)?,
            Expr::Struct(made) => return Err(format!("{}: messages can't be made here", made.type_name)),
            Expr::Unspecified => return Err("no expression".to_owned()),
        };
        Ok((node, kind, None))
    }

    fn name(&self, name: &str) -> Result<Selected, String> {
        if let Some(place) = self.locals.iter().rposition(|(local, _)| local == name) {
            return Ok((Node::Local(place), self.locals[place].1.clone(), None));
        }
        if let Some(kind) = kind_called(name) {
            return Ok((Node::Value(Value::Kind(kind)), Type::Kind, None));
        }
        let flow = pool().get_message_by_name("flow.Flow").filter(|_| name == FLOW);
        let flow = flow.ok_or_else(|| format!("nothing is called {name}; the flow is {FLOW}"))?;
        Ok((Node::Flow, Type::Message(flow), Some(String::new())))
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Selected, String> {
        if let Some(constant) = self.constant(select) {
            return Ok(constant);
        }
        let (node, kind, path) = self.selected(&select.operand)?;
        if let Type::Map(key, value) = &kind {
            return self.of_map(select, node, key, value).map(|(node, kind)| (node, kind, None));
        }
        let Type::Message(message) = &kind else {
            return Err(format!(".{}: {kind} has no fields", select.field));
        };
        let field = message
            .get_field_by_name(&select.field)
            .ok_or_else(|| format!("{} has no field {}", message.full_name(), select.field))?;
        let opaque = message.full_name() == ENDED;
        let path = path.map(|path| match path.as_str() {
            "" => field.name().to_owned(),
            // An `Any`: what is in it is no part of its own fields.
            _ if opaque || path == EXTENSIONS => path,
            _ => format!("{path}.{}", field.name()),
        });
        if select.test {
            self.paths.extend(path);
            return Ok((Node::Has(Box::new(node), field), Type::Bool, None));
        }
        let kind = of_field(&field).ok_or_else(|| format!("{}: bytes and maps can't be asked", field.full_name()))?;
        Ok((Node::Field(Box::new(node), field), kind, path))
    }

    /// `map.key` is `map['key']`.
    fn of_map(&self, select: &SelectExpr, map: Node, key: &Type, value: &Type) -> Result<(Node, Type), String> {
        if !key.may_be(&Type::Text) {
            return Err(format!(".{}: the keys of that map are {key}", select.field));
        }
        let named = Node::Text(select.field.clone());
        Ok(match select.test {
            true => (Node::Call(Operation::In, vec![named, map]), Type::Bool),
            false => (Node::Call(Operation::Index, vec![map, named]), value.clone()),
        })
    }

    fn map(&mut self, entries: &[IdedEntryExpr]) -> Result<(Node, Type), String> {
        let (mut nodes, mut of) = (Vec::new(), None);
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { return Err("a map has keys".to_owned()) };
            let ((key, its), (value, whose)) = (self.node(&entry.key)?, self.node(&entry.value)?);
            if !its.is_key() {
                return Err(format!("{its} is no key of a map"));
            }
            if entry.optional {
                return Err("what is optional can't be asked".to_owned());
            }
            of = Some(match of {
                None => (its, whose),
                Some((key, value)) => (its.join(&key), whose.join(&value)),
            });
            nodes.push((key, value));
        }
        let (key, value) = of.unwrap_or((Type::Any, Type::Any));
        Ok((Node::Map(nodes), Type::Map(Box::new(key), Box::new(value))))
    }

    /// `Verdict.DROPPED`, `flow.Verdict.DROPPED`, `malla.Way.CLOSED`; or the name of a type, as `google.protobuf.Timestamp`.
    fn constant(&self, select: &SelectExpr) -> Option<Selected> {
        let (root, holder) = qualified(&select.operand.expr)?;
        if select.test || root == FLOW || self.locals.iter().any(|(local, _)| local == root) {
            return None;
        }
        let holder = holder.trim_start_matches('.');
        if let Some(kind) = kind_called(&format!("{holder}.{}", select.field)) {
            return Some((Node::Value(Value::Kind(kind)), Type::Kind, None));
        }
        let found = [format!("flow.{holder}"), holder.to_owned()];
        let found = found.iter().find_map(|name| pool().get_enum_by_name(name))?;
        let number = found.get_value_by_name(&select.field)?.number();
        Some((Node::Value(Value::Int(number.into())), Type::Int, None))
    }

    fn call(&mut self, call: &CallExpr) -> Result<(Node, Type), String> {
        let mut nodes = Vec::new();
        let mut kinds = Vec::new();
        for argument in call.target.as_deref().into_iter().chain(&call.args) {
            let (node, kind) = self.node(argument)?;
            nodes.push(node);
            kinds.push(kind);
        }
        let name = call.func_name.as_str();
        let wrong = || operation::wrong(name, call.target.is_some(), &kinds);
        let are_bool = |kinds: &[Type]| kinds.iter().all(|kind| kind.may_be(&Type::Bool));
        match (name, kinds.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [_, _]) if are_bool(&kinds) => {
                let both = Box::new(<[Node; 2]>::try_from(nodes).map_err(|_| wrong())?);
                Ok((if name == operators::LOGICAL_AND { Node::And(both) } else { Node::Or(both) }, Type::Bool))
            }
            (operators::CONDITIONAL, [asked, yes, no]) if asked.may_be(&Type::Bool) && yes.may_be(no) => {
                let kind = yes.join(no);
                Ok((Node::If(Box::new(<[Node; 3]>::try_from(nodes).map_err(|_| wrong())?)), kind))
            }
            (operators::NOT_STRICTLY_FALSE, [_]) if are_bool(&kinds) => {
                Ok((Node::NotFalse(Box::new(nodes.pop().ok_or_else(wrong)?)), Type::Bool))
            }
            ("matches", [Type::Text | Type::Any, _]) if let [_, Node::Text(pattern)] = nodes.as_slice() => {
                self.patterns += 1;
                if self.patterns > MOST_PATTERNS {
                    return Err(format!("more than {MOST_PATTERNS} patterns"));
                }
                let (pattern, steps) = pattern::written(pattern)?;
                Ok((Node::Matches(Box::new(nodes.swap_remove(0)), pattern, steps), Type::Bool))
            }
            ("type", [kind]) if call.target.is_none() => {
                let name = match kind {
                    Type::Message(message) => Some(message.full_name().into()),
                    _ => None,
                };
                Ok((Node::Kind(Box::new(nodes.swap_remove(0)), name), Type::Kind))
            }
            _ => {
                let (operation, kind) = operation::find(name, call.target.is_some(), &kinds).ok_or_else(wrong)?;
                if let (Operation::Part(part), [_, Node::Text(name)]) = (operation, nodes.as_slice()) {
                    let zone = zone::named(name).ok_or_else(|| format!("there is no time zone {name:?}"))?;
                    return Ok((Node::Part(part, Box::new(nodes.swap_remove(0)), zone), kind));
                }
                Ok((Node::Call(operation, nodes), kind))
            }
        }
    }

    fn fold(&mut self, fold: &ComprehensionExpr) -> Result<(Node, Type), String> {
        let (range, of) = self.node(&fold.iter_range)?;
        let item = match of {
            Type::List(item) | Type::Map(item, _) => *item,
            Type::Any => Type::Any,
            other => return Err(format!("{other} is no list, nor a map, to go through")),
        };
        if fold.iter_var2.is_some() || fold.iter_var == FLOW {
            return Err(format!("{}: not a name for the items of a list", fold.iter_var));
        }
        let (first, begins) = self.node(&fold.accu_init)?;
        self.locals.push((fold.accu_var.clone(), begins));
        self.locals.push((fold.iter_var.clone(), item));
        let (goes_on, _) = self.node(&fold.loop_cond)?;
        let (step, becomes) = self.node(&fold.loop_step)?;
        self.locals.pop();
        // What `map` collects is known once its step is.
        self.locals.pop();
        self.locals.push((fold.accu_var.clone(), becomes));
        let (result, kind) = self.node(&fold.result)?;
        self.locals.pop();
        Ok((Node::Fold(Box::new(Fold { range, first, goes_on, step, result })), kind))
    }
}

impl Type {
    /// Whether a value of the one may be one of the other.
    pub fn may_be(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(a), Self::List(b)) => a.may_be(b),
            (Self::Map(key, value), Self::Map(other, its)) => key.may_be(other) && value.may_be(its),
            _ => self == other,
        }
    }

    /// What is either; where only one is known it is taken to be that, for a wrong guess is found out when it is run.
    pub fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::List(a), Self::List(b)) if **a == Self::Any => Self::List(b.clone()),
            (Self::List(a), Self::List(b)) if **b == Self::Any => Self::List(a.clone()),
            (a, b) if a == b => a.clone(),
            _ => Self::Any,
        }
    }

    /// Whether a map may have it as a key.
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Any | Self::Bool | Self::Int | Self::Uint | Self::Text)
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double | Self::Any)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Any => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Time => "timestamp",
            Self::Duration => "duration",
            Self::Kind => "type",
            Self::Message(message) => message.full_name(),
            Self::List(item) => return write!(f, "list({item})"),
            Self::Map(key, value) => return write!(f, "map({key}, {value})"),
        };
        f.write_str(name)
    }
}

fn constant(literal: &LiteralValue) -> Result<(Node, Type), String> {
    let (value, kind) = match literal {
        LiteralValue::Boolean(yes) => (Value::Bool(*yes.inner()), Type::Bool),
        LiteralValue::Int(number) => (Value::Int(*number.inner()), Type::Int),
        LiteralValue::UInt(number) => (Value::Uint(*number.inner()), Type::Uint),
        LiteralValue::Double(number) => (Value::Double(*number.inner()), Type::Double),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(text) => return Ok((Node::Text(text.inner().to_owned()), Type::Text)),
        LiteralValue::Bytes(bytes) => (Value::Bytes(bytes.inner().into()), Type::Bytes),
    };
    Ok((Node::Value(value), kind))
}

fn of_field(field: &FieldDescriptor) -> Option<Type> {
    let one = match field.kind() {
        Kind::Double | Kind::Float => Type::Double,
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => Type::Uint,
        Kind::Bool => Type::Bool,
        Kind::String => Type::Text,
        Kind::Bytes => return None,
        Kind::Message(message) => match message.full_name() {
            value::TIMESTAMP => Type::Time,
            value::ANY => Type::Message(pool().get_message_by_name(ENDED)?),
            // Its scalar, or null.
            name if value::is_wrapper(name) => Type::Any,
            _ if field.is_map() => return None,
            _ => Type::Message(message),
        },
        _ => Type::Int,
    };
    let is_list = field.cardinality() == Cardinality::Repeated;
    Some(if is_list { Type::List(Box::new(one)) } else { one })
}

/// `a.b.c`: its root and the whole.
fn qualified(expression: &Expr) -> Option<(&str, String)> {
    match expression {
        Expr::Ident(name) => Some((name, name.clone())),
        Expr::Select(select) if !select.test => {
            let (root, holder) = qualified(&select.operand.expr)?;
            Some((root, format!("{holder}.{}", select.field)))
        }
        _ => None,
    }
}

/// What `type()` says of values of the type that is called so in an expression.
fn kind_called(name: &str) -> Option<Arc<str>> {
    let message = || {
        let found = [format!("flow.{name}"), name.to_owned()];
        found.iter().find_map(|name| pool().get_message_by_name(name)).map(|message| message.full_name().into())
    };
    if KINDS.contains(&name) { Some(name.into()) } else { message() }
}

/// Names of types; those of messages are the messages' own.
const KINDS: [&str; 12] = [
    "null_type",
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "list",
    "map",
    "type",
    value::TIMESTAMP,
    value::DURATION,
];
/// As Hubble calls it; `flow` is the package.
const FLOW: &str = "_flow";
const ENDED: &str = "malla.Ended";
const EXTENSIONS: &str = "extensions";
/// What may stand within each other: parentheses, lists, calls. Each is some frames on the stack.
const MOST_NESTED: u16 = 32;
/// Of the expression as a tree, in which `a + b + c` and `a.b.c` nest too.
const MOST_DEPTH: usize = 96;
const MOST_NODES: usize = 2048;
const MOST_METHODS: usize = 128;
/// Each takes up to half a megabyte and its cache.
const MOST_PATTERNS: usize = 4;
/// For a text of 4 kB, each byte of which may be a level, a level being some frames of some hundred bytes. What is not used is not had.
const STACK: usize = 64 << 20;
