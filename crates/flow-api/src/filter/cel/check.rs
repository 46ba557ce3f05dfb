//! From text to what can be run, with every name and type looked at.

use super::operation::{self, Operation};
use super::value::{self, Value};
use crate::pool;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use cel::parser::PrattParser;
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use regex::{Regex, RegexBuilder};
use std::fmt;

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
    Time,
    Duration,
    Message(MessageDescriptor),
    List(Box<Type>),
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
            Expr::Map(_) => return Err("maps can't be made here".to_owned()),
            Expr::Struct(made) => return Err(format!("{}: messages can't be made here", made.type_name)),
            Expr::Unspecified => return Err("no expression".to_owned()),
        };
        Ok((node, kind, None))
    }

    fn name(&self, name: &str) -> Result<Selected, String> {
        if let Some(place) = self.locals.iter().rposition(|(local, _)| local == name) {
            return Ok((Node::Local(place), self.locals[place].1.clone(), None));
        }
        let flow = pool().get_message_by_name("flow.Flow").filter(|_| name == FLOW);
        let flow = flow.ok_or_else(|| format!("nothing is called {name}; the flow is {FLOW}"))?;
        Ok((Node::Flow, Type::Message(flow), Some(String::new())))
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Selected, String> {
        if let Some(number) = self.constant_of_enum(select) {
            return Ok((Node::Value(Value::Int(number.into())), Type::Int, None));
        }
        let (node, kind, path) = self.selected(&select.operand)?;
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

    /// `Verdict.DROPPED`, `flow.Verdict.DROPPED`, `malla.Way.CLOSED`.
    fn constant_of_enum(&self, select: &SelectExpr) -> Option<i32> {
        let (root, holder) = qualified(&select.operand.expr)?;
        if select.test || root == FLOW || self.locals.iter().any(|(local, _)| local == root) {
            return None;
        }
        let holder = holder.trim_start_matches('.');
        let found = [format!("flow.{holder}"), holder.to_owned()];
        let found = found.iter().find_map(|name| pool().get_enum_by_name(name))?;
        Some(found.get_value_by_name(&select.field)?.number())
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
            ("matches", [text, _]) if text.may_be(&Type::Text) => {
                let Some(Node::Text(pattern)) = nodes.pop() else {
                    return Err("matches: its pattern is to be written out".to_owned());
                };
                self.patterns += 1;
                if self.patterns > MOST_PATTERNS {
                    return Err(format!("more than {MOST_PATTERNS} patterns"));
                }
                let (pattern, steps) = regex(&pattern)?;
                Ok((Node::Matches(Box::new(nodes.pop().ok_or_else(wrong)?), pattern, steps), Type::Bool))
            }
            _ => {
                let (operation, kind) = operation::find(name, call.target.is_some(), &kinds).ok_or_else(wrong)?;
                Ok((Node::Call(operation, nodes), kind))
            }
        }
    }

    fn fold(&mut self, fold: &ComprehensionExpr) -> Result<(Node, Type), String> {
        let (range, of) = self.node(&fold.iter_range)?;
        let item = match of {
            Type::List(item) => *item,
            Type::Any => Type::Any,
            other => return Err(format!("{other} is no list to go through")),
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
            Self::Time => "timestamp",
            Self::Duration => "duration",
            Self::Message(message) => message.full_name(),
            Self::List(item) => return write!(f, "list({item})"),
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
        LiteralValue::Bytes(_) => return Err("bytes can't be made here".to_owned()),
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

/// RE2's syntax, and the steps that sixteen bytes of text cost: an automaton that is large may have to look at all of itself for each byte.
fn regex(pattern: &str) -> Result<(Regex, u32), String> {
    let within = |bytes| RegexBuilder::new(pattern).size_limit(bytes).dfa_size_limit(LARGEST).build();
    for (bytes, steps) in [(LARGEST / 16, 16), (LARGEST / 4, 64)] {
        if let Ok(small) = within(bytes) {
            return Ok((small, steps));
        }
    }
    let large = within(LARGEST).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
    Ok((large, 512))
}

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
/// Each takes up to two times [`LARGEST`] and its cache.
const MOST_PATTERNS: usize = 4;
/// Bytes of a pattern's automaton.
const LARGEST: usize = 1 << 18;
/// For a text of 4 kB, each byte of which may be a level, a level being some frames of some hundred bytes. What is not used is not had.
const STACK: usize = 64 << 20;
