//! A serializer in front of another, through which every string passes that is not a name of this program's own: names of
//! fields and of variants go by as they are.

use std::borrow::Cow;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Where a string stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The type.
    pub of: &'static str,
    /// Its field.
    pub field: &'static str,
    /// It is a key of a map.
    pub key: bool,
}

/// What becomes of strings.
pub(super) trait Words {
    /// What is written in place of `text`.
    fn word<'t>(&self, text: &'t str, place: Place) -> Cow<'t, str>;
}

/// The serializer, and what writes lists, maps and structs.
pub(super) struct Veil<'a, S> {
    inner: S,
    words: &'a dyn Words,
    place: Place,
}

impl<'a, S> Veil<'a, S> {
    pub(super) fn new(inner: S, words: &'a dyn Words) -> Self {
        Self { inner, words, place: Place::default() }
    }

    fn around<T>(words: &'a dyn Words, place: Place, inner: T) -> Veil<'a, T> {
        Veil { inner, words, place }
    }

    fn veiled<'v, T: ?Sized>(&self, value: &'v T) -> Veiled<'a, 'v, T> {
        Veiled { value, words: self.words, place: self.place }
    }
}

/// A value that is written through the veil.
struct Veiled<'a, 'v, T: ?Sized> {
    value: &'v T,
    words: &'a dyn Words,
    place: Place,
}

impl<T: Serialize + ?Sized> Serialize for Veiled<'_, '_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Veil { inner: serializer, words: self.words, place: self.place })
    }
}

/// What goes by as it is.
macro_rules! as_it_is {
    ($($name:ident: $type:ty),+ $(,)?) => {$(
        fn $name(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$name(value)
        }
    )+};
}

impl<'a, S: Serializer> Serializer for Veil<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Veil<'a, S::SerializeSeq>;
    type SerializeTuple = Veil<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Veil<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Veil<'a, S::SerializeTupleVariant>;
    type SerializeMap = Veil<'a, S::SerializeMap>;
    type SerializeStruct = Veil<'a, S::SerializeStruct>;
    type SerializeStructVariant = Veil<'a, S::SerializeStructVariant>;

    as_it_is! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    fn serialize_str(self, text: &str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_str(&self.words.word(text, self.place))
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let veiled = self.veiled(value);
        self.inner.serialize_some(&veiled)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let veiled = self.veiled(value);
        self.inner.serialize_newtype_struct(name, &veiled)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let veiled = self.veiled(value);
        self.inner.serialize_newtype_variant(name, index, variant, &veiled)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(Self::around(self.words, self.place, self.inner.serialize_seq(len)?))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(Self::around(self.words, self.place, self.inner.serialize_tuple(len)?))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        Ok(Self::around(self.words, self.place, self.inner.serialize_tuple_struct(name, len)?))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let inner = self.inner.serialize_tuple_variant(name, index, variant, len)?;
        Ok(Self::around(self.words, self.place, inner))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(Self::around(self.words, self.place, self.inner.serialize_map(len)?))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        let place = Place { of: name, ..Place::default() };
        Ok(Self::around(self.words, place, self.inner.serialize_struct(name, len)?))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let place = Place { of: name, ..Place::default() };
        let inner = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(Self::around(self.words, place, inner))
    }
}

/// Lists of all kinds: their elements stand where they stand.
macro_rules! elements {
    ($($of:ident $add:ident),+ $(,)?) => {$(
        impl<C: $of> $of for Veil<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;
            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let veiled = self.veiled(value);
                self.inner.$add(&veiled)
            }
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )+};
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

/// Fields stand in their type.
macro_rules! fields {
    ($($of:ident),+ $(,)?) => {$(
        impl<C: $of> $of for Veil<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                self.place.field = name;
                let veiled = self.veiled(value);
                self.inner.serialize_field(name, &veiled)
            }
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )+};
}

fields!(SerializeStruct, SerializeStructVariant);

impl<C: SerializeMap> SerializeMap for Veil<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        let veiled = Veiled { place: Place { key: true, ..self.place }, ..self.veiled(key) };
        self.inner.serialize_key(&veiled)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let veiled = Veiled { place: Place { key: false, ..self.place }, ..self.veiled(value) };
        self.inner.serialize_value(&veiled)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}
