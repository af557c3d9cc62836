//! A JMAP WebSocket from the client's side (RFC 8887).

use super::Client;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// An open channel.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// A channel of a client with its credentials.
    pub async fn open(client: &Client) -> Self {
        let fields = [("authorization", client.authorization()), ("sec-websocket-protocol", "jmap")];
        Self::try_open(client.host(), "/jmap/ws", &fields).await.expect("a channel")
    }

    /// A handshake with these header fields; the status where the server refuses it.
    pub async fn try_open(host: &str, path: &str, fields: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{host}{path}").into_client_request().expect("a request");
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        let stream = TcpStream::connect(host).await.expect("a connection");
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("the server reads");
    }

    /// One message in two frames.
    pub async fn send_in_pieces(&mut self, text: &str) {
        let (one, other) = text.split_at(text.len() / 2);
        let first = Frame::message(one.to_owned(), OpCode::Data(Data::Text), false);
        let last = Frame::message(other.to_owned(), OpCode::Data(Data::Continue), true);
        for frame in [first, last] {
            self.stream.send(Message::Frame(frame)).await.expect("the server reads");
        }
    }

    pub async fn send_binary(&mut self, octets: Vec<u8>) {
        self.stream.send(Message::binary(octets)).await.expect("the server reads");
    }

    /// Octets that need not be a frame.
    pub async fn send_raw(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).await.expect("the server reads");
    }

    /// The next message; the code of the Close that came in its place.
    pub async fn receive(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(20), self.stream.next()).await;
            match frame.expect("a message in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(close))) => return Err(close.map(|close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        self.receive().await.expect("a message and no end")
    }

    /// Sends a request with an id and gives the next message.
    pub async fn request(&mut self, id: &str, using: &[&str], calls: Value) -> Value {
        self.send(json!({"@type": "Request", "id": id, "using": using, "methodCalls": calls})).await;
        self.next().await
    }

    /// Waits until the server has done all that was sent before: it acts on messages in their order.
    pub async fn settled(&mut self) {
        let echo = self.request("settled", &[super::CORE], json!([["Core/echo", {}, "c"]])).await;
        assert_eq!(echo["requestId"], "settled", "{echo}");
    }
}
