// What TensorFlow.js itself answers: node tfjs_reference.mjs FACE_API HUMAN HUMAN_MODELS > answers.json (packages)
// Input i of each model is ((7919 i) mod 1009) / 1009, its axes (1, height, width, 3); dlib's net takes 255 times that.
import fs from 'fs';
import path from 'path';

const [faceApi, human, further] = process.argv.slice(2);
// the bundle is for browsers, and looks for a canvas when it is loaded
globalThis.document = { createElement: () => ({ getContext: () => null }) };
globalThis.window = { document: globalThis.document, location: {}, addEventListener() {} };
const api = await import(path.resolve(faceApi, 'dist/face-api.esm.js'));
const tf = api.tf;
await tf.setBackend('cpu');
await tf.ready();

const read = (file) => {
  const data = fs.readFileSync(file);
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
};
const json = (file) => JSON.parse(fs.readFileSync(file));
const input = (shape, scale) => {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < values.length; i++) values[i] = ((i * 7919) % 1009) / 1009 * scale;
  return tf.tensor(values, shape);
};
const answers = {};
const keep = (model, name, tensor) => {
  answers[model] = { ...answers[model], [name]: { shape: tensor.shape, values: Array.from(tensor.dataSync()) } };
};

const weights = path.join(faceApi, 'model/face_recognition_model');
const specs = json(weights + '-weights_manifest.json')[0].weights;
const net = new api.FaceRecognitionNet();
net.loadFromWeightMap(tf.io.decodeWeights(read(weights + '.bin'), specs));
keep('face-dlib', 'fc', net.forwardInput({ toBatchTensor: () => input([1, 150, 150, 3], 255) }));

const graphs = {
  faceres: ['global_pooling/Mean'],
  blazeface: ['Identity', 'Identity_1', 'Identity_2', 'Identity_3'],
  centernet: ['tower_0/keypoints', 'tower_0/wh', 'tower_0/detections'],
  mobileface: ['batchnorm0/add_1'],
};
for (const [name, outputs] of Object.entries(graphs)) {
  const file = path.join(name === 'mobileface' ? further : human, 'models', name);
  const model = json(file + '.json');
  const graph = new tf.GraphModel({
    load: () => ({ ...model, weightSpecs: model.weightsManifest.flatMap((group) => group.weights), weightData: read(file + '.bin') }),
  });
  await graph.load();
  const shape = graph.inputs[0].shape.map((side) => Math.max(side, 1));
  const found = graph.execute(input(shape, 1), outputs);
  (Array.isArray(found) ? found : [found]).forEach((tensor, i) => keep(name, outputs[i], tensor));
}
console.log(JSON.stringify({ tfjs: tf.version, answers }));
